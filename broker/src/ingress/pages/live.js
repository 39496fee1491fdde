// Renews the parts of a page that change, as the server renders them. Without it the page is loaded again.
"use strict";
(() => {
  const live = document.getElementById("live");
  if (!live) return;
  const every = 2000;
  let paused = false;

  const button = document.createElement("button");
  button.type = "button";
  const state = document.createElement("span");
  state.setAttribute("role", "status");
  live.replaceChildren(button, state);

  function tell(text, failed) {
    if (state.textContent !== text) state.textContent = text;
    live.classList.toggle("lost", Boolean(failed));
  }

  function show() {
    button.textContent = paused ? "Resume" : "Pause";
    tell(paused ? "paused" : "live");
    live.classList.toggle("paused", paused);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    show();
  });

  async function renew() {
    const response = await fetch(location.pathname, {
      headers: { "Msgscript-Page": live.dataset.key },
      cache: "no-store",
      signal: AbortSignal.timeout(5000),
    });
    if (!response.ok) throw new Error(response.statusText);
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of next.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      // What somebody stands on with the keyboard stays as it is.
      if (!old || old.contains(document.activeElement) || old.innerHTML === part.innerHTML) continue;
      old.replaceChildren(...part.childNodes);
    }
  }

  async function turn() {
    if (!paused && !document.hidden) {
      try {
        await renew();
        if (!paused) tell("live");
      } catch {
        tell("the server does not answer", true);
      }
    }
    setTimeout(turn, every);
  }

  show();
  setTimeout(turn, every);
})();
