/** What the page asks of the server; see docs/serve.md. Refusals become errors that carry the server's sentence. */

const KEY = "maskwright-key";
const PATIENCE = 8;

/** A refusal of the server, in its own words. */
export class Refusal extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** What the server says of its model. */
export async function readModel() {
  return (await ask("v1/model")).json();
}

/**
 * One result of a picture, as the server stores it.
 * @param {Blob} picture
 * @param {string} output
 * @param {number | null} threshold The model's own where null.
 * @param {(seconds: number) => void} onWait Told when the server is busy and is asked again.
 */
export async function predict(picture, output, threshold, onWait) {
  const words = new URLSearchParams({ output });
  if (threshold !== null) words.set("threshold", String(threshold));
  for (let attempt = 1; ; attempt++) {
    const answer = await send(`v1/predict?${words}`, {
      method: "POST",
      headers: { "Content-Type": picture.type.startsWith("image/") ? picture.type : "application/octet-stream" },
      body: picture,
    });
    if (answer.status !== 503 || attempt === PATIENCE) return (await accepted(answer)).blob();
    const seconds = Math.min(30, Number(answer.headers.get("Retry-After")) || 1);
    onWait(seconds);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

/**
 * Keep a picture and its mask where the server collects them.
 * @returns {Promise<{image: string, mask: string}>} Where they lie in that folder.
 */
export async function collect(picture, mask, name) {
  const form = new FormData();
  form.set("image", picture, name);
  form.set("mask", mask, "mask.png");
  form.set("name", name);
  return (await ask("v1/collect", { method: "POST", body: form })).json();
}

/** Remember the key for this tab alone. */
export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

async function ask(path, options) {
  return accepted(await send(path, options));
}

async function send(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  try {
    return await fetch(path, { ...options, headers });
  } catch {
    throw new Refusal(0, "The server does not answer. Is it still running?");
  }
}

async function accepted(answer) {
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Refusal(answer.status, said?.error?.message ?? `The server answered ${answer.status}.`);
}
