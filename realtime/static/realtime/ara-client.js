// The client has its own folder; this address of it stays.
export * from "./client/index.js";
