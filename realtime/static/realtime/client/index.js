// The JavaScript client of ARA Realtime: see README.md.

export { AraClient } from "./client.js";
export { ARAWebSocketClient } from "./seed.js";
export { Channel } from "./channel.js";
export { AraError, NOT_CONNECTED } from "./errors.js";
export { CHANNELS, CloseCode } from "./protocol.js";

// Types alone.
/** @typedef {import("./messages.js").Alert} Alert */
/** @typedef {import("./messages.js").AlertData} AlertData */
/** @typedef {import("./messages.js").ErrorMessage} ErrorMessage */
/** @typedef {import("./messages.js").Events} Events */
/** @typedef {import("./messages.js").Gap} Gap */
/** @typedef {import("./messages.js").MarketData} MarketData */
/** @typedef {import("./messages.js").MarketDataUpdate} MarketDataUpdate */
/** @typedef {import("./messages.js").Prediction} Prediction */
/** @typedef {import("./messages.js").PredictionUpdate} PredictionUpdate */
/** @typedef {import("./messages.js").ServerMessage} ServerMessage */
/** @typedef {import("./messages.js").StateMessage} StateMessage */
/** @typedef {import("./messages.js").StreamStatus} StreamStatus */
