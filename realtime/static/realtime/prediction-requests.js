// Predictions on request: each is shown where it was asked for until its answer is there.

import * as format from "./format.js";

const ANSWER_LIMIT_MS = 15_000;

export class PredictionRequests {
  #client;
  #waiting = new Map(); // request_id -> { show, sent, timer }

  constructor({ client, predictions }) {
    this.#client = client;
    predictions.addEventListener("prediction_update", ({ detail }) => this.#answered(detail));
    predictions.addEventListener("error", ({ detail }) => {
      this.#finish(detail.details?.request_id, () => format.sentence(detail.message), { failed: true });
    });
  }

  /** `show(text, { busy, failed, prediction })` is told how it goes; `prediction` is the update. */
  async request(symbol, show, horizon = 1) {
    const sent = performance.now();
    show("Requested …", { busy: true });
    try {
      const { request_id: id } = await this.#client.requestPrediction(symbol, horizon);
      const timer = setTimeout(() => {
        this.#finish(id, () => "No answer. Try again.", { failed: true });
      }, ANSWER_LIMIT_MS);
      this.#waiting.set(id, { show, sent, timer });
    } catch (error) {
      show(format.sentence(error.message), { failed: true });
    }
  }

  #answered(prediction) {
    const text = (elapsed) => `Answered in ${format.milliseconds(elapsed)}`;
    this.#finish(prediction.request_id, text, { prediction });
  }

  #finish(id, text, about) {
    const request = this.#waiting.get(id);
    if (request === undefined) return;
    this.#waiting.delete(id);
    clearTimeout(request.timer);
    request.show(text(performance.now() - request.sent), about);
  }
}
