// One symbol as a row of the table.

import * as format from "./format.js";
import { SymbolItem } from "./symbol-item.js";

export class SymbolRow extends SymbolItem {
  constructor(state, actions) {
    super("row", state, actions);
  }

  renderQuote(quote) {
    super.renderQuote(quote);
    this.text("volume", format.volume(quote.volume));
  }

  renderPrediction(prediction) {
    super.renderPrediction(prediction);
    const { lower_bound: lower, upper_bound: upper } = prediction.data;
    const bounded = Number.isFinite(lower) && Number.isFinite(upper);
    this.text("band", bounded ? `${format.price(lower)} to ${format.price(upper)}` : "");
  }
}
