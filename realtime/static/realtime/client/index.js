// The JavaScript client of ARA Realtime: see README.md.

export { AraClient } from "./client.js";
export { ARAWebSocketClient } from "./seed.js";
export { Channel } from "./channel.js";
export { AraError, NOT_CONNECTED } from "./errors.js";
export { CHANNELS, CloseCode } from "./protocol.js";
