// Asks now and then whether there is a newer page, and loads it where this one stands.
(() => {
  const address = document.body.dataset.refresh;
  let version = document.body.dataset.version;
  const kept = "bench:" + location.pathname;
  const state = sessionStorage.getItem(kept);
  if (state) {
    sessionStorage.removeItem(kept);
    const { top, details, sorted } = JSON.parse(state);
    all("details").forEach((one, i) => {
      if (i in details) one.open = details[i];
    });
    const headings = all("table.results th[data-column]");
    for (const [i, way] of sorted) if (headings[i]) sortBy(headings[i], way);
    scrollTo(0, top);
  }
  const ask = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(address, { cache: "no-store" });
        const now = answer.ok ? (await answer.text()).trim() : version;
        if (version && now !== version) {
          const headings = all("table.results th[data-column]");
          const sorted = headings.map((h, i) => [i, h.getAttribute("aria-sort")]).filter(([, way]) => way);
          const details = all("details").map((one) => one.open);
          sessionStorage.setItem(kept, JSON.stringify({ top: scrollY, details, sorted }));
          location.reload();
          return;
        }
        version = now;
      } catch {
        // The server is gone; it may come back.
      }
    }
    setTimeout(ask, 2000);
  };
  ask();
})();
