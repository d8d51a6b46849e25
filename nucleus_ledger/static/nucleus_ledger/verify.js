// Takes a verification forward: asks the site for one step after another, and shows how far it is.
"use strict";

(() => {
  const panel = document.getElementById("ledger-run");
  const form = document.getElementById("ledger-run-step");
  if (!panel || !form) {
    return;
  }
  const [bar, text, rate, said] = ["bar", "text", "rate", "said"].map(
    (name) => document.getElementById(`ledger-run-${name}`),
  );
  const language = document.documentElement.lang || undefined;
  const SAY_EVERY = 10_000; // milliseconds: a screen reader is not to be talked over
  const LONGEST_WAIT = 30_000;
  let first = null;
  let lastSaid = 0;
  let wait = 1000;
  form.hidden = true; // the script does what its button is for

  function say(words) {
    if (said.textContent !== words) {
      said.textContent = words;
    }
  }

  function inUnits(seconds) {
    const [unit, size] = [["hour", 3600], ["minute", 60], ["second", 1]].find(
      ([, size]) => seconds >= size || size === 1,
    );
    const format = { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 0 };
    return new Intl.NumberFormat(language, format).format(Math.ceil(seconds / size));
  }

  function show(progress) {
    bar.max = Math.max(progress.total, 1);
    bar.value = progress.done;
    text.textContent = progress.text;
    const now = performance.now();
    first = first || { time: now, done: progress.done };
    const perSecond = ((progress.done - first.done) / (now - first.time)) * 1000;
    if (perSecond > 0) {
      const left = Math.max(progress.total - progress.done, 0) / perSecond;
      rate.textContent = panel.dataset.rate
        .replace("{rate}", new Intl.NumberFormat(language).format(Math.round(perSecond)))
        .replace("{left}", inUnits(left));
    }
    if (!progress.moved) {
      say(panel.dataset.elsewhere);
    } else if (now - lastSaid > SAY_EVERY) {
      lastSaid = now;
      say(`${progress.text}. ${rate.textContent}`);
    }
  }

  async function step() {
    let progress;
    try {
      const response = await fetch(panel.dataset.step, {
        method: "POST",
        body: new FormData(form),
        headers: { Accept: "application/json" },
        redirect: "manual",
      });
      if (response.type === "opaqueredirect" || response.status === 403) {
        say(panel.dataset.loggedOut);
        return;
      }
      if (response.status === 404) {
        window.location.reload();
        return;
      }
      if (!response.ok) {
        throw new Error(`status ${response.status}`);
      }
      progress = await response.json();
    } catch {
      say(panel.dataset.lost);
      window.setTimeout(step, wait);
      wait = Math.min(2 * wait, LONGEST_WAIT);
      return;
    }
    wait = 1000;
    show(progress);
    if (progress.finished) {
      window.location.reload();
    } else {
      window.setTimeout(step, progress.moved ? 0 : 1000);
    }
  }

  step();
})();
