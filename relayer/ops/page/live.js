// Says when to read again: at every event the relayer sends, else on a slow beat. An event is only
// a hint; what is shown always comes from a read, so a lost event costs seconds and nothing else.

const BEAT_LIVE_MS = 15_000;
const BEAT_POLLING_MS = 4_000;
const GATHER_MS = 250; // events that come close together make one read
const GAP_MS = 1_500; // between two reads, however many events there are
const RECONNECT_MS = [1_000, 2_000, 5_000, 10_000, 30_000];

export class Live {
  #source = null;
  #failures = 0;
  #timer = 0;
  #retry = 0;
  #lastRead = 0;
  #reading = false;
  #again = false;
  #ok = true;
  #waitUntil = 0;

  // `read` reads and draws, and throws when it could not; `onState` is told live, polling or disconnected.
  constructor({ read, concerns, onState }) {
    this.read = read;
    this.concerns = concerns;
    this.onState = onState;
  }

  start() {
    document.addEventListener("visibilitychange", () =>
      document.hidden ? this.#pause() : this.#resume(),
    );
    addEventListener("online", () => this.#resume());
    this.#resume();
  }

  // Read now, for instance because the person went somewhere else.
  now() {
    this.#waitUntil = 0;
    this.#again = this.#reading;
    return this.#read();
  }

  #resume() {
    this.#failures = 0;
    this.#connect();
    this.#read();
  }

  #pause() {
    // a hidden tab holds no connection and asks for nothing
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    const source = new EventSource("/v1/events");
    this.#source = source;
    source.onopen = () => {
      this.#failures = 0;
      this.#tell();
      this.#soon(0); // whatever happened meanwhile
    };
    source.onerror = () => {
      source.close(); // the browser gives up on some answers for ever; we do not
      if (this.#source === source) this.#lost();
    };
    source.onmessage = ({ data }) => this.#heard(data);
    source.addEventListener("reset", () => this.#soon(GATHER_MS)); // events were lost
  }

  #lost() {
    this.#source = null;
    this.#tell();
    this.#soon(BEAT_POLLING_MS);
    const delay = RECONNECT_MS[Math.min(this.#failures++, RECONNECT_MS.length - 1)];
    this.#retry = setTimeout(() => this.#connect(), delay);
  }

  #heard(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    if (this.concerns(event)) this.#soon(GATHER_MS);
  }

  #soon(delay) {
    if (document.hidden) return;
    const at = Math.max(performance.now() + delay, this.#lastRead + GAP_MS, this.#waitUntil);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), at - performance.now());
  }

  async #read() {
    clearTimeout(this.#timer);
    if (this.#reading) return;
    this.#reading = true;
    try {
      await this.read();
      this.#ok = true;
    } catch (error) {
      this.#ok = error.status > 0 && error.status < 500; // a refusal is an answer
      this.#waitUntil = performance.now() + 1000 * (error.retryAfterS ?? 0);
    }
    this.#reading = false;
    this.#lastRead = performance.now();
    this.#tell();
    const again = this.#again;
    this.#again = false;
    if (again) await this.#read();
    else this.#soon(this.#isLive() ? BEAT_LIVE_MS : BEAT_POLLING_MS);
  }

  #isLive() {
    return this.#source?.readyState === EventSource.OPEN;
  }

  #tell() {
    this.onState(!this.#ok ? "disconnected" : this.#isLive() ? "live" : "polling");
  }
}
