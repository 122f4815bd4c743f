// The page of `camera`: one WebSocket brings pictures and numbers, small POSTs change what a source is watched with.

// As in vision_lora/pictures/drawing.py: vivid for what an adapter learned, muted for the base's own classes.
const VIVID = ["#ff5252", "#ffc107", "#00e676", "#40a0ff", "#e040fb", "#00e5ff", "#ff8000", "#c6ff00", "#ff69b4", "#9575ff"];
const MUTED = ["#b0bec5", "#bcaaa4", "#9fa8da", "#a5d6a7", "#ce93d8", "#ffe0b2"];
const NONE = ""; // the choice "no adapter"
const USUAL = 0.25; // threshold where neither a person nor the adapter names another

const byId = (id) => document.getElementById(id);
const cameras = new Map(); // source name -> its card

// Elements from strings are never made: names come from files and configuration.
function make(tag, props = {}, ...children) {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
}

class Camera {
  constructor(name) {
    this.name = name;
    this.root = byId("camera").content.firstElementChild.cloneNode(true);
    this.root.dataset.source = name;
    this.find("h2").textContent = name;
    this.canvas = this.find("canvas");
    this.canvas.setAttribute("aria-label", `Live picture of ${name}`);
    this.form = this.find("form");
    for (const radio of this.form.querySelectorAll("[type=radio]")) {
      radio.name = "mode"; // a form of its own: groups do not mix
    }
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", (event) => this.changed(event.target));
    this.find("[name=confidence]").addEventListener("input", (event) => this.showThreshold(event.target.value));
    byId("cameras").append(this.root);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  // Pictures ------------------------------------------------------------------------------------------------------

  async show(picture, jpeg) {
    const bitmap = await createImageBitmap(jpeg);
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.root.dataset.picture = picture.number;
    this.find(".boxes").replaceChildren(...picture.boxes.map(boxElement));
  }

  // Numbers -------------------------------------------------------------------------------------------------------

  tell(source, adapters) {
    const state = this.find(".state");
    state.textContent = source.state === "lost" ? `lost: ${source.cause}` : source.state;
    state.dataset.state = source.state;
    const veil = this.find(".veil");
    veil.hidden = source.state !== "lost" && source.state !== "frozen";
    veil.textContent = source.state === "lost"
      ? `No picture for ${duration(source.state_age)}`
      : `The same picture for ${duration(source.state_age)}`;
    this.set(".fps", source.fps.toFixed(1));
    this.set(".latency", source.latency.length
      ? source.latency.map((seconds) => Math.round(seconds * 1000)).join(" · ") + " ms" : "–");
    this.set(".alarms", total(source.alarms));
    this.set(".reconnects", Math.max(0, source.connects - 1));
    const dropped = Object.entries(source.dropped).map(([cause, count]) => `${count} ${cause}`);
    this.set(".dropped", dropped.join(", ") || "0");
    this.set(".address", source.address);
    this.drawZones(source.zones);
    this.showChoice(source, adapters);
  }

  set(selector, text) {
    this.find(selector).textContent = text;
  }

  drawZones(zones) {
    if (this.find(".zones") || !Object.keys(zones).length) return;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "zones");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("preserveAspectRatio", "none");
    for (const corners of Object.values(zones)) {
      const polygon = document.createElementNS(svg.namespaceURI, "polygon");
      polygon.setAttribute("points", corners.map((corner) => corner.join(",")).join(" "));
      svg.append(polygon);
    }
    this.canvas.after(svg);
  }

  // What the source is watched with -------------------------------------------------------------------------------

  showChoice(source, adapters) {
    const { choice, classes } = source;
    const names = [...adapters, NONE].join("\n");
    const select = this.form.elements.adapter;
    if (this.adapters !== names) { // only then: an open list must not be rebuilt under somebody's fingers
      this.adapters = names;
      select.replaceChildren(
        ...adapters.map((name) => make("option", { value: name, textContent: name })),
        make("option", { value: NONE, textContent: "none: the base alone" }));
    }
    const known = JSON.stringify([choice, classes]);
    if (this.known === known) return;
    this.known = known;
    select.value = choice.adapter ?? NONE;
    this.form.elements.mode.value = choice.mode;
    this.form.elements.confidence.value = choice.confidence ?? USUAL;
    this.showThreshold(choice.confidence ?? USUAL);
    if (choice.confidence === null && Object.keys(choice.own).length) this.set(".confidence output", "the adapter's own");
    this.find(".fields").replaceChildren(...classes.map((name) => {
      const input = make("input", { type: "number", min: 0.05, max: 1, step: 0.05, placeholder: choice.confidence ?? choice.own[name]?.toFixed(2) ?? USUAL });
      input.dataset.class = name;
      input.value = choice.thresholds[name] ?? "";
      return make("label", {}, name, input);
    }));
    this.find(".thresholds").hidden = !classes.length;
  }

  showThreshold(value) {
    this.set(".confidence output", Number(value).toFixed(2));
  }

  changed(field) {
    if (field.name === "adapter") this.post({ adapter: field.value === NONE ? null : field.value });
    else if (field.name === "mode") this.post({ mode: field.value });
    else if (field.name === "confidence") this.post({ confidence: Number(field.value) });
    else {
      const fields = [...this.form.querySelectorAll("[data-class]")].filter((input) => input.value !== "");
      this.post({ thresholds: Object.fromEntries(fields.map((input) => [input.dataset.class, Number(input.value)])) });
    }
  }

  async post(change) {
    const answer = this.find(".answer");
    try {
      const response = await fetch(`/api/sources/${encodeURIComponent(this.name)}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change),
      });
      const told = await response.json();
      answer.textContent = response.ok ? "" : told.error ?? "refused";
    } catch {
      answer.textContent = "not reached: try again";
    }
    answer.classList.toggle("wrong", answer.textContent !== "");
    this.known = undefined; // show what is, whatever came of it
  }
}

function boxElement(box) {
  const [x1, y1, x2, y2] = box.box;
  const element = make("div", { className: box.defect ? "box" : "box general" },
    make("span", { textContent: `${box.name} ${box.score.toFixed(2)}` }));
  element.dataset.name = box.name;
  element.style.cssText = `left:${x1 * 100}%;top:${y1 * 100}%;width:${(x2 - x1) * 100}%;height:${(y2 - y1) * 100}%`;
  element.style.setProperty("--tone", colour(box.index, box.defect));
  element.classList.toggle("low", y1 < 0.08);
  element.classList.toggle("right", x1 > 0.7);
  return element;
}

function colour(index, defect) {
  const palette = defect ? VIVID : MUTED;
  return palette[index % palette.length];
}

// All sources together --------------------------------------------------------------------------------------------

function tell(state) {
  const health = byId("health");
  health.textContent = health.dataset.state = state.health;
  const counts = {};
  for (const { state: name } of state.sources) counts[name] = (counts[name] ?? 0) + 1;
  byId("summary").textContent = Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(" · ");
  byId("uptime").textContent = `up ${duration(state.uptime)}`;
  const indices = new Map();
  for (const source of state.sources) {
    if (!cameras.has(source.name)) cameras.set(source.name, new Camera(source.name));
    cameras.get(source.name).tell(source, state.adapters);
    source.classes.forEach((name, index) => indices.set(name, index));
  }
  const names = new Set(state.sources.flatMap((source) => Object.keys(source.alarms)));
  for (const name of names) if (!indices.has(name)) indices.set(name, indices.size);
  const tone = (name) => colour(indices.get(name) ?? 0, true);
  drawChart(state.sources, [...names], tone);
  drawCrops(state.alarms, tone);
  drawEvents(state.events);
}

function drawChart(sources, names, tone) {
  const minutes = sources[0].minutes.map((_, minute) => {
    const sum = {};
    for (const source of sources)
      for (const [name, count] of Object.entries(source.minutes[minute])) sum[name] = (sum[name] ?? 0) + count;
    return sum;
  });
  const highest = Math.max(4, ...minutes.map(total));
  byId("chart").replaceChildren(...minutes.map((counts) => {
    const bar = make("div", { title: Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ") });
    for (const [name, count] of Object.entries(counts)) {
      const part = make("i");
      part.style.height = `${(count / highest) * 100}%`;
      part.style.setProperty("--tone", tone(name));
      bar.append(part);
    }
    return bar;
  }));
  const sums = names.map((name) => [name, sources.reduce((sum, source) => sum + (source.alarms[name] ?? 0), 0)]);
  byId("legend").replaceChildren(...sums.map(([name, count]) => {
    const item = make("li", {}, `${name} `, make("b", { textContent: count }));
    item.style.setProperty("--tone", tone(name));
    return item;
  }));
  const told = sums.map(([name, count]) => `${count} ${name}`).join(", ");
  byId("chart").setAttribute("aria-label", `Defects per minute; since the start: ${told || "none"}`);
}

function drawCrops(alarms, tone) {
  const list = byId("crops");
  const newest = alarms.slice(-12).reverse();
  byId("no-crops").hidden = newest.length > 0;
  if (list.dataset.newest === newest[0]?.id) return;
  list.dataset.newest = newest[0]?.id ?? "";
  list.replaceChildren(...newest.map((alarm) => {
    const item = make("li", {},
      make("img", { src: `/api/crops/${alarm.id}`, alt: `${alarm.class} seen by ${alarm.source}` }),
      make("b", { textContent: `${alarm.class} ${alarm.score.toFixed(2)}` }),
      make("span", { className: "quiet", textContent: `${alarm.source} ${clock(alarm.time)}` }));
    item.style.setProperty("--tone", tone(alarm.class));
    return item;
  }));
}

function drawEvents(events) {
  const list = byId("events");
  const newest = [...events].reverse();
  if (list.dataset.newest === newest[0]?.id) return;
  list.dataset.newest = newest[0]?.id ?? "";
  list.replaceChildren(...newest.map((event) => make("li", {},
    make("time", { textContent: clock(event.time), dateTime: event.time }),
    make("b", { textContent: event.source ?? "camera program" }),
    make("span", { textContent: words(event) }))));
}

function words(event) {
  switch (event.kind) {
    case "live": return `live, ${event.size.join(" × ")}`;
    case "lost": return `lost: ${event.cause}`;
    case "resized": return `picture size is now ${event.size.join(" × ")}`;
    case "frozen": return "the picture stands still";
    case "moving": return "the picture moves again";
    case "ended": return `ended after ${event.pictures} pictures`;
    case "switched": return `watched with ${event.adapter ?? "the base alone"}, ${event.mode}, from ${event.confidence ?? "the adapter's own thresholds"}`;
    default: return event.kind;
  }
}

const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);
const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

function duration(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let rest = Math.floor(seconds);
  const said = [];
  for (const [unit, size] of parts) {
    if (rest >= size || (unit === "s" && !said.length)) said.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return said.slice(0, 2).join(" ");
}

// The connection --------------------------------------------------------------------------------------------------

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
  let awaited = []; // pictures whose JPEGs are still to come
  let unseen = 0; // pictures that are not shown yet
  socket.onopen = () => {
    byId("broken").hidden = true;
    socket.send("more");
  };
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      const answer = JSON.parse(data);
      if (answer.state) tell(answer.state);
      awaited = answer.pictures;
      unseen = awaited.length;
    } else {
      const picture = awaited.shift();
      await cameras.get(picture.source)?.show(picture, data);
      unseen -= 1;
    }
    if (!unseen && socket.readyState === WebSocket.OPEN) socket.send("more"); // what cannot be shown is not asked for
  };
  socket.onclose = async () => {
    byId("broken").hidden = false;
    byId("health").textContent = "no connection";
    byId("health").dataset.state = "failing";
    const status = await fetch("/api/state").then((response) => response.status, () => 0);
    if (status === 401) location.assign("/login");
    else setTimeout(connect, 1000);
  };
}

connect();
