// A second verifier of receipts, written from docs/format.md and nothing else: no library, only
// WebCrypto. In a browser it runs on the receipt page of the admin; elsewhere, `require` it.
//
//     await nucleusLedgerReceipt.check(bytes, [vkey, …], ledgerIdOrNull)
//
// gives {entry, hash, head, manifest, checkpoint, signedBy, registered: {after, by}, lag}, or throws
// an Error that says why not. `after` and `lag` (ms) are null where the receipt does not tell them.
"use strict";

(() => {
  const subtle = globalThis.crypto.subtle;
  const encoder = new TextEncoder();
  const MOST_HASHES = 63;
  const P = (1n << 255n) - 19n;
  // The y of the points whose order divides 8: their "signatures" hold for what nobody signed.
  const SMALL_ORDER = [0n, 1n, P - 1n,
    0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
    0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n];

  function demand(good, why) {
    if (!good) {
      throw new Error(why);
    }
  }

  // --- texts -------------------------------------------------------------------------------

  // RFC 8785: JSON.stringify writes numbers and strings as it demands, and sort() compares
  // UTF-16 code units (section 3.2.3).
  function jcs(value) {
    if (Array.isArray(value)) {
      return `[${value.map(jcs).join(",")}]`;
    }
    if (value !== null && typeof value === "object") {
      const members = Object.keys(value).sort();
      return `{${members.map((name) => `${jcs(name)}:${jcs(value[name])}`).join(",")}}`;
    }
    demand(typeof value !== "string" || value.isWellFormed(), "a lone surrogate is no character");
    demand(typeof value !== "number" || Number.isFinite(value), "a number is too large");
    return JSON.stringify(value);
  }

  // A text counts only if writing what it says gives the same text again.
  function document_(text, what) {
    demand(typeof text === "string", `${what} is no text`);
    let value;
    try {
      value = JSON.parse(text);
    } catch {
      throw new Error(`${what} is not JSON`);
    }
    demand(value !== null && typeof value === "object" && !Array.isArray(value), `${what} is no object`);
    demand(jcs(value) === text, `${what} is not in the form of RFC 8785`);
    return value;
  }

  function members(value, names, what) {
    demand(jcs(Object.keys(value).sort()) === jcs([...names].sort()),
      `${what} has other members than it should`);
  }

  function base64(text, what) {
    demand(typeof text === "string" && /^[A-Za-z0-9+/]*={0,2}$/.test(text), `${what} is not base64`);
    let binary;
    try {
      binary = atob(text);
    } catch {
      throw new Error(`${what} is not base64`);
    }
    demand(btoa(binary) === text, `${what} is not the one form of its base64`);
    return Uint8Array.from(binary, (char) => char.charCodeAt(0));
  }

  function decimal(text, what) {
    demand(/^(0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(Number(text)),
      `${what} is no number without leading zeros`);
    return Number(text);
  }

  const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
  const isHash = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
  const isLabel = (value) => typeof value === "string" && [...value].length >= 1
    && [...value].length <= 200 && value.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]/.test(value);
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  // --- bytes -------------------------------------------------------------------------------

  function join(...parts) {
    const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    parts.reduce((place, part) => (all.set(part, place), place + part.length), 0);
    return all;
  }

  const sha256 = async (data) => new Uint8Array(await subtle.digest("SHA-256", data));
  const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const leafHash = (data) => sha256(join(Uint8Array.of(0), data)); // RFC 6962 section 2.1
  const nodeHash = (left, right) => sha256(join(Uint8Array.of(1), left, right));

  // RFC 9162 section 2.1.3.2, in BigInt: a log may have more than 2^32 leaves.
  async function checkInclusion(leaf, index, size, proof, root, what) {
    demand(isCount(index) && isCount(size) && index < size, `${what}: no leaf ${index} in ${size}`);
    let place = BigInt(index);
    let last = BigInt(size) - 1n;
    let found = leaf;
    for (const sibling of proof) {
      demand(sibling.length === 32, `${what}: a hash is not 32 bytes long`);
      demand(last !== 0n, `${what}: the proof is too long`);
      if (place & 1n || place === last) {
        found = await nodeHash(sibling, found);
        while (!(place & 1n) && place !== 0n) {
          place >>= 1n;
          last >>= 1n;
        }
      } else {
        found = await nodeHash(found, sibling);
      }
      place >>= 1n;
      last >>= 1n;
    }
    demand(last === 0n && hex(found) === root, `${what}: the proof does not lead to the root`);
  }

  // --- signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ------------------

  async function parseVkey(text) {
    const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text.trim());
    demand(match && !/\s/.test(match[1]), "not a vkey: name+8 hex digits+base64");
    const [, name, id, encoded] = match;
    const data = base64(encoded, "the key");
    demand(data.length === 33 && (data[0] === 1 || data[0] === 4), "not an Ed25519 key");
    const digest = await sha256(join(encoder.encode(`${name}\n`), data));
    demand(hex(digest.slice(0, 4)) === id, "the id of the key is not that of its name and bytes");
    const point = data.slice(1);
    const y = BigInt(`0x${hex(point.slice().reverse())}`) & ((1n << 255n) - 1n);
    demand(y < P, "the key is not in its canonical form");
    demand(!SMALL_ORDER.includes(y), "the key is of small order");
    const key = await subtle.importKey("raw", point, { name: "Ed25519" }, false, ["verify"]);
    return { name, id, kind: data[0], key };
  }

  function parseNote(text) {
    const split = text.lastIndexOf("\n\n");
    demand(split > 0 && text.endsWith("\n") && split + 2 < text.length, "the note has no signatures");
    const body = text.slice(0, split + 1);
    demand(!/[\u0000-\u0009\u000b-\u001f]/.test(body), "the note has a control character");
    const lines = text.slice(split + 2, -1).split("\n");
    demand(lines.length <= 100, "the note has too many signatures");
    const signatures = lines.map((line) => {
      const match = /^\u2014 ([^ ]+) ([A-Za-z0-9+/=]+)$/.exec(line);
      demand(match && !/[\s+]/.test(match[1]), "a line below the note is no signature");
      const data = base64(match[2], "a signature");
      demand(data.length >= 5, "a signature is too short");
      return { name: match[1], id: hex(data.slice(0, 4)), data: data.slice(4) };
    });
    return { body, signatures };
  }

  // A known key whose signature does not hold makes the whole note worthless.
  async function verifyNote(note, keys) {
    const signedBy = new Map();
    for (const { name, id, data } of note.signatures) {
      const key = keys.find((each) => each.name === name && each.id === id);
      if (!key || signedBy.has(key)) {
        continue;
      }
      let [message, signature, time] = [note.body, data, null];
      if (key.kind === 4) {
        demand(data.length === 72, `the cosignature of ${name} has another length`);
        time = new DataView(data.buffer, data.byteOffset).getBigUint64(0);
        [message, signature] = [`cosignature/v1\ntime ${time}\n${note.body}`, data.slice(8)];
      }
      const good = signature.length === 64
        && await subtle.verify({ name: "Ed25519" }, key.key, signature, encoder.encode(message));
      demand(good, `the signature of ${name} does not hold`);
      signedBy.set(key, time === null ? null : Number(time));
    }
    // A witness says that a log only grew, and not that this is the log: a key of the log must sign.
    demand([...signedBy.keys()].some((key) => key.kind === 1), "no signature is of a key that was given");
    return [...signedBy].map(([key, time]) => ({ name: key.name, id: key.id, time }));
  }

  function parseCheckpoint(body) {
    const [origin, size, root, ...more] = body.slice(0, -1).split("\n");
    demand(origin && root !== undefined && more.every(Boolean), "the checkpoint lacks a line");
    const data = base64(root, "the root of the checkpoint");
    demand(data.length === 32, "the root of the checkpoint is not 32 bytes long");
    return { origin, size: decimal(size, "the size of the checkpoint"), root: hex(data) };
  }

  // c2sp.org/tlog-proof@v1
  function parseProof(text) {
    const split = text.indexOf("\n\n");
    demand(split > 0 && split + 2 < text.length, "the proof has no checkpoint");
    const lines = text.slice(0, split).split("\n");
    demand(lines.shift() === "c2sp.org/tlog-proof@v1", "not a proof of c2sp.org/tlog-proof@v1");
    if (lines[0]?.startsWith("extra ")) {
      base64(lines.shift().slice(6), "the extra data");
    }
    demand(lines[0]?.startsWith("index "), "the proof has no index");
    const index = decimal(lines.shift().slice(6), "the index");
    demand(lines.length <= MOST_HASHES, "the proof is too long");
    return { index, hashes: lines.map((line) => base64(line, "a hash")), note: text.slice(split + 2) };
  }

  // --- the ledger's own documents ----------------------------------------------------------

  const HEAD = ["schema", "ledger", "stream", "length", "head_hash", "root", "timestamp"];
  const MANIFEST = ["schema", "ledger", "number", "created_at", "streams", "streams_root",
    "removed", "restored"];
  const ENTRY = ["id", "ledger", "payload", "prev_hash", "schema", "sequence", "stream", "timestamp"];
  const BEFORE = ["manifest", "manifest_proof", "stream_head", "streams_index", "streams_proof"];
  const EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  const RECEIPT = ["schema", "before", "entry", "stream_proof", "stream_head", "streams_index",
    "streams_proof", "manifest", "checkpoint"];

  function parseHead(text) {
    const head = document_(text, "the stream head");
    members(head, HEAD, "the stream head");
    demand(head.schema === "nucleus-ledger/stream-head/v1", "not a stream head");
    const filled = head.length === 0
      ? head.head_hash === null && head.timestamp === null && head.root === EMPTY_ROOT
      : isHash(head.head_hash) && isHash(head.root) && isCount(head.timestamp);
    demand(isLabel(head.ledger) && isLabel(head.stream) && isCount(head.length) && filled,
      "a value of the stream head is out of range");
    return head;
  }

  function parseManifest(text) {
    const manifest = document_(text, "the manifest");
    members(manifest, MANIFEST, "the manifest");
    demand(manifest.schema === "nucleus-ledger/manifest/v1", "not a manifest");
    const exceptions = (list, names) => Array.isArray(list) && list.every((each) =>
      isObject(each) && jcs(Object.keys(each).sort()) === jcs(names) && isLabel(each.stream)
      && isCount(each.length) && typeof each.reason === "string"
      && (each.kept === undefined || (isCount(each.kept) && each.kept <= each.length)));
    demand(isLabel(manifest.ledger) && isCount(manifest.number) && isCount(manifest.streams)
      && isHash(manifest.streams_root)
      && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(manifest.created_at)
      && !Number.isNaN(Date.parse(manifest.created_at))
      && exceptions(manifest.removed, ["length", "reason", "stream"])
      && exceptions(manifest.restored, ["kept", "length", "reason", "stream"]),
    "a value of the manifest is out of range");
    return manifest;
  }

  function parseEntry(text, head) {
    const entry = document_(text, "the entry");
    members(entry, "meta" in entry ? [...ENTRY, "meta"] : ENTRY, "the entry");
    demand(entry.schema === "nucleus-ledger/v1", "the entry is of another format");
    demand(!("meta" in entry) || isObject(entry.meta), "the meta of the entry is no object");
    demand(entry.payload !== null && typeof entry.payload === "object",
      "the payload is neither an object nor an array");
    demand(isLabel(entry.id) && isCount(entry.timestamp) && entry.timestamp > 0
      && isCount(entry.sequence), "a value of the entry is of another kind or out of range");
    demand(entry.sequence === 0 ? entry.prev_hash === null : isHash(entry.prev_hash),
      "the entry does not follow what it should");
    demand(entry.stream === head.stream && entry.ledger === head.ledger,
      "the entry is of another stream or ledger than its head");
    return entry;
  }

  function hashes(list) {
    demand(Array.isArray(list) && list.length <= MOST_HASHES, "a proof is no list of hashes");
    return list.map((each) => base64(each, "a hash"));
  }

  // The manifest before, which has the stream and does not cover the entry; null without one.
  async function checkBefore(before, entry, head, manifest, checkpoint) {
    if (before === null) {
      return null;
    }
    demand(isObject(before), "what the receipt says of the manifest before is no object");
    members(before, BEFORE, "what the receipt says of the manifest before");
    const [manifestProof, streamsProof] = [before.manifest_proof, before.streams_proof].map(hashes);
    const earlier = parseManifest(before.manifest);
    const there = parseHead(before.stream_head);
    demand(earlier.number === manifest.number - 1, "another manifest stands as the one before");
    await checkInclusion(await leafHash(encoder.encode(before.manifest)), earlier.number,
      checkpoint.size, manifestProof, checkpoint.root, "the manifest before in the log");
    await checkInclusion(await leafHash(encoder.encode(before.stream_head)), before.streams_index,
      earlier.streams, streamsProof, earlier.streams_root, "the stream in the manifest before");
    demand(there.stream === head.stream && there.length <= entry.sequence,
      "the manifest before does not say that it leaves the entry out");
    return earlier;
  }

  async function check(bytes, vkeys, ledger) {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    demand(text.endsWith("\n"), "the receipt is cut off");
    const receipt = document_(text.slice(0, -1), "the receipt");
    members(receipt, RECEIPT, "the receipt");
    demand(receipt.schema === "nucleus-ledger/receipt/v2", "not a receipt");
    const [streamProof, streamsProof] = [receipt.stream_proof, receipt.streams_proof].map(hashes);
    const head = parseHead(receipt.stream_head);
    const manifest = parseManifest(receipt.manifest);
    demand(typeof receipt.checkpoint === "string", "the checkpoint is no text");
    const proof = parseProof(receipt.checkpoint);
    const note = parseNote(proof.note);
    const keys = await Promise.all(vkeys.map(parseVkey));
    const signedBy = await verifyNote(note, keys);
    const checkpoint = parseCheckpoint(note.body);
    await checkInclusion(await leafHash(encoder.encode(receipt.manifest)), proof.index,
      checkpoint.size, proof.hashes, checkpoint.root, "the manifest in the log");
    demand(proof.index === manifest.number, "the manifest stands at another place of the log");
    await checkInclusion(await leafHash(encoder.encode(receipt.stream_head)), receipt.streams_index,
      manifest.streams, streamsProof, manifest.streams_root, "the stream in the manifest");
    const entry = parseEntry(receipt.entry, head);
    const hash = await sha256(encoder.encode(receipt.entry));
    await checkInclusion(await leafHash(hash), entry.sequence, head.length, streamProof, head.root,
      "the entry in the stream");
    demand(checkpoint.origin.endsWith(manifest.ledger), "the checkpoint is one of another ledger");
    demand(!ledger || (head.ledger === ledger && manifest.ledger === ledger),
      `it is of ledger ${JSON.stringify(head.ledger)}`);
    const before = await checkBefore(receipt.before, entry, head, manifest, checkpoint);
    const registered = { after: before && before.created_at, by: manifest.created_at };
    // How many ms the entry claims to be older than a manifest that does not cover it.
    const lag = before && Math.max(Date.parse(before.created_at) - entry.timestamp, 0);
    return { entry, hash: hex(hash), head, manifest, checkpoint, signedBy, registered, lag };
  }

  globalThis.nucleusLedgerReceipt = { check };
  if (typeof module !== "undefined") {
    module.exports = globalThis.nucleusLedgerReceipt;
  }
})();

// The receipt page of the admin: this browser checks what the server claims.
(() => {
  const panel = globalThis.document?.getElementById("ledger-receipt");
  if (!panel) {
    return;
  }
  const [text, keys, ledger, said, button] = ["text", "vkeys", "ledger", "said", "check"].map(
    (name) => document.getElementById(`ledger-receipt-${name}`),
  );

  // As `lasting` in core/moments.py.
  function lasting(milliseconds) {
    const parts = [];
    let rest = milliseconds;
    for (const [unit, size] of [["d", 86400000], ["h", 3600000], ["min", 60000]]) {
      if (rest >= size) {
        parts.push(`${Math.floor(rest / size)} ${unit}`);
        rest %= size;
      }
    }
    if (rest || !parts.length) {
      parts.push(`${rest / 1000} s`);
    }
    return parts.join(" ");
  }

  function whenRegistered({ registered, lag }) {
    const bounds = registered.after === null ? panel.dataset.by : panel.dataset.between;
    const words = bounds.replace("{after}", registered.after).replace("{by}", registered.by);
    const late = lag !== null && lag > Number(panel.dataset.skew);
    return late ? `${words} ${panel.dataset.late.replace("{lag}", lasting(lag))}` : words;
  }

  async function judge() {
    let [level, words] = ["intact", panel.dataset.holds];
    try {
      const vkeys = keys.value.split("\n").filter((line) => line.trim());
      const found = await globalThis.nucleusLedgerReceipt.check(
        new TextEncoder().encode(text.value), vkeys, ledger.value.trim() || null,
      );
      words = words
        .replace("{sequence}", found.entry.sequence)
        .replace("{stream}", () => found.head.stream)
        .replace("{size}", found.checkpoint.size)
        .replace("{origin}", () => found.checkpoint.origin)
        .replace("{names}", () => found.signedBy.map((each) => each.name).join(", "));
      words = `${words} ${whenRegistered(found)}`;
    } catch (error) {
      level = "tampered";
      words = panel.dataset.fails.replace("{why}", () => error.message);
    }
    said.className = `ledger-receipt-said ledger-receipt-said--${level}`;
    said.textContent = words;
  }

  button.hidden = false;
  button.addEventListener("click", judge);
  judge();
})();
