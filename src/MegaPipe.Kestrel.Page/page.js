
"use strict";
(() => {
  const base = location.pathname.replace(/\/+$/, "");
  const id = name => document.getElementById(name);
  const svg = "http://www.w3.org/2000/svg";
  const Seconds = 120; // as the server keeps
  let wide = 30; // seconds that the lanes show
  let state = null, history = [], now = null, paused = false, view = "work", lanes = new Map();

  // ---- words and numbers
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
  const count = n => n < 10000 ? whole.format(n) : short.format(n);
  const time = ms => ms < 1 ? whole.format(ms * 1000) + " µs" : ms < 10 ? ms.toFixed(1) + " ms"
    : ms < 1000 ? whole.format(ms) + " ms" : ms < 10000 ? (ms / 1000).toFixed(1) + " s" : whole.format(ms / 1000) + " s";
  const percent = p => p === 0 ? "0 %" : p < 0.1 ? "< 0.1 %" : p < 10 ? p.toFixed(1) + " %" : whole.format(p) + " %";
  const times = n => n === 1 ? "once" : n === 2 ? "twice" : count(n) + " times";
  const plural = (n, word) => count(n) + " " + word + (n === 1 ? "" : "s");
  const causes = {
    Wait: "waits for another thread: look for .Result, .Wait(), lock, Thread.Sleep",
    SynchronousIO: "synchronous I/O: a file, a socket or a database without await",
    Computing: "computes: move long work out of the request",
    Unknown: "look for .Result, .Wait(), lock, synchronous I/O"
  };

  // ---- small helpers of the document
  const text = (element, value) => { if (element.textContent !== value) element.textContent = value; };
  const add = (parent, name, value, kind) => {
    const element = parent.appendChild(document.createElement(name));
    if (value !== undefined) element.textContent = value;
    if (kind) element.className = kind;
    return element;
  };
  const draw = (parent, name, attributes) => {
    const element = parent.appendChild(document.createElementNS(svg, name));
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // ---- what the lanes can show: [key, title, series, unit of the full height]
  const views = [
    ["work", "Work", ["inline", "offloaded"], n => count(n) + " continuations/s"],
    ["turn", "Turn length", ["turnMicroseconds"], n => time(n / 1000)],
    ["delay", "Queue delay", ["delayMicroseconds"], n => time(n / 1000)],
    ["batch", "Batch size", ["batch"], n => n.toFixed(1) + " events"],
    ["connections", "Connections", ["connections"], n => plural(n, "connection")],
    ["accepts", "Accepts", ["accepted"], n => count(n) + "/s"],
    ["leases", "Leases out", ["leasesOut"], n => plural(n, "buffer")],
    ["groups", "Groups", ["groups"], n => plural(n, "group")]
  ];
  const series = () => views.find(entry => entry[0] === view);

  function makeViews() {
    const hasGroups = now.sample.channels.some(channel => channel.groups !== null);
    for (const [key, title] of views) {
      if (key === "groups" && !hasGroups) continue;
      const input = id("views").appendChild(document.createElement("input"));
      input.type = "radio"; input.name = "view"; input.id = "view-" + key; input.checked = key === view;
      input.addEventListener("change", () => { view = key; showLegend(); showLanes(); });
      const label = add(id("views"), "label", title);
      label.htmlFor = input.id;
    }
    showLegend();
  }

  function showLegend() {
    const legend = id("legend");
    legend.replaceChildren();
    if (view === "work") {
      add(legend, "span", "inline", "key");
      add(legend, "span", "offloaded to the pool", "key offloaded");
    } else add(legend, "span", series()[1].toLowerCase(), "key");
    add(legend, "span", "hand-over: taken from a stuck thread", "key hand");
    add(legend, "span", "").id = "scale";
  }

  // Once, and for some milliseconds, is a busy machine or code that ran for the first time; so is a hundredth of what
  // another one takes. For filter and its like.
  const blocks = (row, _, rows) => (row.recentCount >= 3 || row.recentMilliseconds >= 100)
    && row.recentMilliseconds * 100 >= Math.max(...rows.map(other => other.recentMilliseconds));

  // ---- sums over the last minute, by channel
  function minute() {
    const sums = new Map();
    for (const sample of history.slice(-60))
      for (const channel of sample.channels) {
        const sum = sums.get(channel.index) ?? { handOvers: 0, stalled: 0, samples: 0 };
        sum.handOvers += channel.handOvers; sum.stalled += channel.stalledPercent; sum.samples++;
        sums.set(channel.index, sum);
      }
    return sums;
  }

  function worstChannel(sums) {
    let worst = null;
    for (const [index, sum] of sums)
      if (sum.handOvers > 0 && (worst === null || sum.stalled / sum.samples > worst.stalled))
        worst = { index, stalled: sum.stalled / sum.samples, handOvers: sum.handOvers };
    return worst;
  }

  // ---- the answer in one sentence
  function showVerdict(sums) {
    const box = id("verdict"), recent = now.blocked.filter(blocks)
      .sort((a, b) => b.recentMilliseconds - a.recentMilliseconds);
    let kind, title, words;
    if (now.transport !== "megapipe") {
      kind = "warn";
      title = now.transport === "none" ? "Nothing is bound yet" : "The stock Sockets transport serves";
      words = state.fallbackReason ?? "";
    } else if (recent.length > 0) {
      kind = "bad";
      const names = recent.slice(0, 2).map(row => row.title);
      const more = recent.length - names.length;
      title = names.join(" and ") + (more > 0 ? " and " + more + " more" : "") + (recent.length > 1 ? " block" : " blocks");
      const total = recent.reduce((sum, row) => sum + row.recentCount, 0);
      const kept = recent.reduce((sum, row) => sum + row.recentMilliseconds, 0);
      const worst = worstChannel(sums);
      words = (total > 0 ? "In the last minute " + times(total) + ", " + time(kept) + " of threads in all. "
        : "Stuck for " + time(Math.max(...recent.map(row => row.longestNowMilliseconds))) + " by now. ")
        + (worst === null ? "The thread pool carries it: no channel was held up."
          : "Channel " + worst.index + " suffers most: it was taken from a stuck thread " + times(worst.handOvers)
            + " and stood still for " + percent(worst.stalled) + " of the time.");
    } else {
      kind = "good";
      title = "Nothing blocks";
      const sum = key => now.sample.channels.reduce((total, channel) => total + channel[key], 0);
      words = plural(now.sample.channels.length, "channel") + ", " + plural(sum("connections"), "connection") + ", "
        + count(sum("inline") + sum("offloaded")) + " continuations a second"
        + (sums.size && worstChannel(sums) ? ". Hand-overs in the last minute were short: a busy machine, or code that ran for the first time." : ".");
    }
    box.className = kind;
    text(id("verdict-title"), title);
    text(id("verdict-text"), words);
  }

  // ---- who blocks
  function showBlocked() {
    // What is under a hundredth of the worst one is a busy machine, or code that ran for the first time.
    const little = Math.max(0, ...now.blocked.map(row => row.recentMilliseconds)) / 100;
    const rows = now.blocked.filter(row => row.stuckNow > 0
      || row.recentMilliseconds >= little && (row.count >= 3 || row.totalMilliseconds >= 100)).sort((a, b) =>
      b.recentMilliseconds - a.recentMilliseconds || b.totalMilliseconds - a.totalMilliseconds).slice(0, 50);
    id("blocked").hidden = rows.length === 0;
    const rest = now.blocked.length - rows.length;
    text(id("blocked-rest"), rest === 0 ? "" : (rest === 1 ? "One more" : rest + " more")
      + " kept threads for moments only.");
    const body = id("blocked-rows"), most = Math.max(1, ...rows.map(row => row.recentMilliseconds));
    body.replaceChildren();
    for (const row of rows) {
      const line = add(body, "tr");
      const name = add(line, "th", row.title);
      name.scope = "row";
      add(name, "small", causes[row.cause]);
      const cell = (label, value, kind) => {
        const made = add(line, "td", value, kind);
        made.dataset.label = label;
        return made;
      };
      const quiet = row.recentCount === 0 && row.stuckNow === 0;
      const last = cell("Last minute", quiet ? "none" : times(row.recentCount), quiet ? "number quiet" : "number");
      if (row.stuckNow > 0)
        add(last, "small", row.stuckNow + " stuck now, for " + time(row.longestNowMilliseconds), "now");
      const kept = cell("Kept threads for", quiet ? "" : time(row.recentMilliseconds), "kept");
      if (!quiet) {
        const bar = draw(kept, "svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" });
        draw(bar, "rect", { width: 100, height: 4 });
        draw(bar, "rect", { width: Math.max(1, 100 * row.recentMilliseconds / most), height: 4 });
      }
      cell("Worst", time(row.worstMilliseconds), "number");
      const chips = add(cell("Whose channel"), "ul", undefined, "chips");
      const channels = Object.entries(row.handOversByChannel).sort((a, b) => b[1] - a[1]);
      channels.slice(0, 6).forEach(([index, n], place) =>
        add(chips, "li", "channel " + index + " · " + count(n), place === 0 && !quiet ? "most" : ""));
      if (channels.length > 6) add(chips, "li", "and " + (channels.length - 6) + " more");
      if (row.onPool > 0) add(chips, "li", "pool · " + count(row.onPool));
      const total = cell("Since start", times(row.count) + ", " + time(row.totalMilliseconds), "number");
      if (row.threads.some(thread => thread > 0))
        add(total, "small", "thread " + row.threads.filter(thread => thread > 0).slice(0, 4)
          .map(thread => thread + " (0x" + thread.toString(16) + ")").join(", "));
    }
  }

  // ---- where in the code, on request
  const stackWords = {
    403: "Another site asked for it.", 404: "The app does not offer it.", 401: "You may not ask for it."
  };

  async function sampleStacks() {
    const button = id("stacks-button");
    button.disabled = true;
    text(id("stacks-words"), "Sampling …");
    try {
      const response = await fetch(base + "/stacks", { method: "POST", cache: "no-store" });
      const found = response.ok || response.status === 503 ? await response.json() : null;
      text(id("stacks-words"), found === null ? stackWords[response.status] ?? "It failed: status " + response.status + "."
        : found.problem ?? (found.stacks.length === 0 ? "Nothing blocked meanwhile. Try again while something does."
          : "Sampled at " + new Date().toLocaleTimeString() + ". The frame of your own code stands out."));
      if (found !== null) showStacks(found.stacks);
    } catch (error) {
      text(id("stacks-words"), "No answer.");
    }
    button.disabled = false;
  }

  function showStacks(stacks) {
    const box = id("stacks");
    box.replaceChildren();
    for (const [place, stack] of stacks.entries()) {
      const made = add(box, "details");
      made.open = place === 0;
      const head = add(made, "summary", stack.title + " · seen " + times(stack.samples) + " on "
        + (stack.channel === null ? "the pool" : "channel " + stack.channel) + ", thread " + stack.threadId);
      add(head, "small", stack.where ?? "only the framework's own code");
      const list = add(made, "pre");
      list.tabIndex = 0;
      list.setAttribute("role", "region");
      list.setAttribute("aria-label", "Stack " + (place + 1));
      for (const frame of stack.frames) {
        if (frame === stack.where) add(list, "b", frame);
        else list.append(frame);
        list.append("\n");
      }
    }
  }

  // ---- the lanes
  function lane(index) {
    let made = lanes.get(index);
    if (made) return made;
    const item = add(id("lanes"), "li");
    const head = add(item, "h3", "Channel " + index);
    const picture = draw(item, "svg", { preserveAspectRatio: "none", role: "img" });
    made = {
      item, picture, tag: add(head, "span", "", "tag"),
      low: draw(picture, "path", { class: "area" }), high: draw(picture, "path", { class: "area offloaded" }),
      hands: draw(picture, "path", { class: "hand-over" }), facts: add(item, "p", undefined, "facts")
    };
    lanes.set(index, made);
    return made;
  }

  // A filled shape between two rows of points; x counts seconds from the right.
  function shape(upper, lower) {
    if (upper.length === 0) return "";
    const first = wide - upper.length + 1;
    const point = (value, place) => (first + place) + " " + value.toFixed(2);
    return "M" + upper.map(point).join("L") + "L"
      + lower.map(point).reverse().join("L") + "Z";
  }

  function showLanes() {
    const [, title, keys, unit] = series();
    const value = (channel, key) => channel[key] ?? 0;
    let full = 0;
    for (const sample of history)
      for (const channel of sample.channels)
        full = Math.max(full, keys.reduce((sum, key) => sum + value(channel, key), 0));
    const scale = full > 0 ? 36 / full : 0;
    wide = [30, 60, Seconds].find(seconds => history.length <= seconds) ?? Seconds;
    text(id("scale"), "full height: " + unit(full));
    text(id("channels-title"), plural(now.sample.channels.length, "channel"));
    const sums = minute(), worst = worstChannel(sums);
    id("lanes").className = now.sample.channels.length > 12 ? "many" : "";
    const bySample = history.map(sample => sample.channels);
    now.sample.channels.forEach((channel, place) => {
      const made = lane(channel.index);
      const points = bySample.map(channels => channels[place]).filter(other => other?.index === channel.index);
      const floor = points.map(() => 40);
      const low = points.map(other => 40 - scale * value(other, keys[0]));
      made.low.setAttribute("d", shape(low, floor));
      made.high.setAttribute("d", keys.length < 2 ? ""
        : shape(points.map((other, i) => low[i] - scale * value(other, keys[1])), low));
      const first = wide - points.length + 1;
      made.picture.setAttribute("viewBox", "0 0 " + wide + " 40");
      made.hands.setAttribute("d", points.map((other, i) =>
        other.handOvers > 0 ? "M" + (first + i) + " 0V" + (6 + Math.min(24, 3 * Math.log2(1 + other.handOvers))) : "").join(""));
      const sum = sums.get(channel.index) ?? { handOvers: 0, stalled: 0, samples: 1 };
      const isWorst = worst?.index === channel.index && now.blocked.some(blocks);
      made.item.className = isWorst ? "worst" : "";
      text(made.tag, isWorst ? "suffers most" : plural(channel.connections, "connection"));
      made.facts.replaceChildren();
      const fact = (number, word, kind) => {
        const part = add(made.facts, "span");
        add(part, "b", number, kind);
        part.append(" " + word);
      };
      fact(count(channel.inline), "inline/s");
      fact(count(channel.offloaded), "offloaded/s");
      fact(time(channel.turnMicroseconds / 1000), "turn");
      fact(time(channel.delayMicroseconds / 1000), "queue delay");
      fact(count(sum.handOvers), sum.handOvers === 1 ? "hand-over" : "hand-overs", sum.handOvers > 0 ? "hand" : "");
      fact(percent(sum.stalled / sum.samples), "stood still", sum.stalled > 0 ? "hand" : "");
      made.picture.setAttribute("aria-label", "Channel " + channel.index + ", " + title.toLowerCase() + ": "
        + unit(keys.reduce((total, key) => total + value(channel, key), 0)) + " now, "
        + plural(sum.handOvers, "hand-over") + " in the last minute");
    });
    for (const [index, made] of lanes)
      if (!now.sample.channels.some(channel => channel.index === index)) { made.item.remove(); lanes.delete(index); }
    text(id("axis-start"), wide < Seconds ? wide + " seconds ago" : "2 minutes ago");
    id("channels").hidden = now.sample.channels.length === 0;
  }

  // ---- tables of numbers
  const columns = [
    ["Connections", "connections", count], ["Accepts/s", "accepted", count], ["Inline/s", "inline", count],
    ["Offloaded/s", "offloaded", count], ["Turn", "turnMicroseconds", n => time(n / 1000)],
    ["Queue delay", "delayMicroseconds", n => time(n / 1000)], ["Batch", "batch", n => n.toFixed(1)],
    ["Hand-overs/s", "handOvers", count], ["Stood still", "stalledPercent", percent], ["Leases out", "leasesOut", count],
    ["Groups", "groups", n => n === null ? "—" : count(n)]
  ];

  function table(heads, body, titles, rows) {
    heads.replaceChildren();
    for (const title of titles) add(heads, "th", title, heads.children.length ? "number" : "").scope = "col";
    body.replaceChildren();
    for (const [name, ...cells] of rows) {
      const line = add(body, "tr");
      add(line, "th", name).scope = "row";
      for (const cell of cells) add(line, "td", cell, "number");
    }
  }

  function showNumbers() {
    table(id("number-heads"), id("number-rows"), ["Channel", ...columns.map(column => column[0])],
      now.sample.channels.map(channel => [channel.index, ...columns.map(([, key, show]) => show(channel[key]))]));
  }

  function showState() {
    document.title = "MegaPipe · " + state.process.name;
    const good = state.transport === "megapipe";
    id("stacks-ask").hidden = !state.stacks;
    text(id("serves"), good ? "serving" : state.transport === "none" ? "not bound" : "fallback: Sockets");
    id("serves").className = good ? "" : "warn";
    text(id("process"), state.process.name + " · process " + state.process.id + " · " + state.process.framework
      + " · " + state.process.system);
    id("options").replaceChildren();
    for (const [name, value] of Object.entries(state.options)) { add(id("options"), "dt", name); add(id("options"), "dd", value); }
    id("features").replaceChildren();
    for (const feature of state.features)
      add(id("features"), "li", feature.name + (feature.reason ? ": " + feature.reason : ""), feature.available ? "yes" : "no")
        .setAttribute("aria-label", feature.name + (feature.available ? ", available" : ", missing: " + feature.reason));
    const missing = state.features.filter(feature => !feature.available).length;
    text(id("features-title"), "Kernel features" + (missing ? " (" + missing + " missing)" : ""));
    table(id("counter-heads"), id("counter-rows"), ["Counter", ...state.channels.map(channel => "Channel " + channel.index)],
      state.channels.length === 0 ? [] : Object.keys(state.channels[0].counters).map(name =>
        [name, ...state.channels.map(channel => whole.format(channel.counters[name]))]));
  }

  function show() {
    const sums = minute();
    text(id("cpu"), percent(now.sample.cpuPercent) + " of " + plural(state.process.processors, "CPU"));
    showVerdict(sums); showBlocked(); showLanes(); showNumbers();
  }

  // ---- data
  const live = (words, kind) => { text(id("live"), words); id("live").className = kind; };

  async function load() {
    const response = await fetch(base + "/state", { cache: "no-store" });
    if (!response.ok) throw new Error("status " + response.status);
    const first = state === null;
    state = await response.json();
    now = state.now;
    history = state.history;
    showState();
    if (first) makeViews();
    show();
  }

  function follow() {
    const events = new EventSource(base + "/events");
    events.onopen = () => live("live", "on");
    events.onerror = () => {
      live(events.readyState === EventSource.CLOSED ? "no connection" : "connecting again", "off");
      if (events.readyState === EventSource.CLOSED) setTimeout(start, 5000);
    };
    events.onmessage = message => {
      const update = JSON.parse(message.data);
      if (now !== null && update.transport !== now.transport) load();
      history.push(update.sample);
      if (history.length > Seconds) history.splice(0, history.length - Seconds);
      now = update;
      if (!paused) show();
    };
  }

  async function start() {
    try {
      await load();
      follow();
    } catch (error) {
      live("no connection", "off");
      setTimeout(start, 5000);
    }
  }

  id("pause").addEventListener("click", () => {
    paused = !paused;
    id("pause").setAttribute("aria-pressed", paused);
    text(id("pause"), paused ? "Resume" : "Pause");
    if (!paused && now) show();
  });
  id("stacks-button").addEventListener("click", sampleStacks);
  for (const details of document.querySelectorAll("details"))
    details.addEventListener("toggle", () => { if (details.open) load().catch(() => {}); });
  live("connecting", "");
  start();
})();
