// The shape of the class of the package `ws`, as far as the client needs it.
export default class WebSocket {
  constructor(url: string, protocols: string[]);
  send(text: string): void;
  close(code?: number): void;
  terminate(): void;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: { error: unknown }) => void) | null;
}
