/**
 * The upper-cased symbol; throws RangeError with the rule. The server checks again, but a
 * symbol entered while disconnected must be refused before it is kept for later.
 */
export function parseSymbol(text) {
  const symbol = text.trim().toUpperCase();
  if (symbol === "") throw new RangeError("Enter a symbol, for example NVDA.");
  if (symbol.length > 32) throw new RangeError("A symbol has at most 32 characters.");
  if (!/^[A-Z0-9^][A-Z0-9.\-_=^:/]*$/.test(symbol)) {
    throw new RangeError(
      "A symbol consists of A-Z 0-9 . - _ = ^ : / only, and starts with a letter, digit or ^.",
    );
  }
  return symbol;
}
