"use strict";
// Draws each network once, and what belongs to the unit in focus on a second canvas above, while the first is faint.

const PAD = 12, GAP = 36, REACH = 12; // pixels: around, between columns at least, and how near a pointer has to be
const LISTED = 5; // strongest edges that are told
const [DEAD, OFF_PATH] = [0, 1]; // other units are on a path

const form = document.querySelector("form");
document.documentElement.classList.add("with-script");

function unpack(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}

/** The edges of every dot, those of one side after those of another: `edges[first[dot]]` to `edges[first[dot + 1]]`. */
function edgesByDot(ends, dots) {
  const first = new Uint32Array(dots + 1);
  for (const end of ends) first[end + 1]++;
  for (let dot = 0; dot < dots; dot++) first[dot + 1] += first[dot];
  const next = first.slice(), edges = new Uint32Array(ends.length);
  ends.forEach((end, edge) => { edges[next[end]++] = edge; });
  return (dot) => edges.subarray(first[dot], first[dot + 1]);
}

class Network {
  constructor(section, record) {
    this.stage = section.querySelector(".stage");
    this.picture = section.querySelector(".picture");
    this.tip = section.querySelector(".tip");
    [this.base, this.lit] = section.querySelectorAll("canvas");
    this.columns = record.columns;
    this.maps = record.maps;
    this.state = unpack(record.state, Uint8Array);
    this.onPath = unpack(record.onPath, Uint8Array);
    this.shared = unpack(record.shared, Uint8Array);
    this.level = unpack(record.level, Uint8Array);
    for (const name of ["fanIn", "fanOut", "source", "target", "kept", "size", "ties"]) {
      this[name] = unpack(record[name], Uint32Array);
    }
    this.value = unpack(record.value, Float32Array);
    this.strength = unpack(record.strength, Float32Array);
    this.column = new Uint16Array(this.state.length);
    this.columns.forEach((column, place) => this.column.fill(place, column.first, column.first + column.dots));
    this.largestFanOut = this.fanOut.subarray(0, this.columns[0].dots).reduce((one, other) => Math.max(one, other), 1);
    this.incoming = edgesByDot(this.target, this.state.length);
    this.outgoing = edgesByDot(this.source, this.state.length);
  }

  // Where everything is.

  layOut() {
    const room = this.room = this.stage.clientWidth;
    const scale = window.devicePixelRatio || 1;
    const context = this.base.getContext("2d");
    context.font = FONT;
    const side = Math.min(200, Math.max(72, room * 0.18));
    const widths = this.columns.map((column) => (column.grid ? side : 0));
    const wide = widths.reduce((sum, width) => sum + width, 0);
    const gaps = Math.max(this.columns.length - 1, 1);
    const gap = Math.max(GAP, (room - 4 * PAD - wide) / gaps);
    this.width = Math.max(room, 4 * PAD + wide + gap * gaps);
    const names = this.columns.map((column) => context.measureText(column.name).width);
    this.areNamesUpright = names.some((width, place) => width > gap + widths[place] * 0.5 - 8);
    const bottom = this.areNamesUpright ? Math.min(Math.max(...names), 150) + 18 : 30;
    const height = room < 560 ? 360 : 520;
    this.height = height + bottom;
    this.bottom = height;
    this.x = new Float32Array(this.state.length);
    this.y = new Float32Array(this.state.length);
    this.radius = [];
    this.centre = [];
    let left = 2 * PAD;
    this.columns.forEach((column, place) => {
      const centre = left + widths[place] / 2;
      const across = column.grid ? column.grid[1] : 1, down = column.grid ? column.grid[0] : column.dots;
      const step = column.grid ? side / Math.max(...column.grid) : Math.min(16, (height - 2 * PAD) / column.dots);
      for (let number = 0; number < column.dots; number++) {
        this.x[column.first + number] = centre + ((number % across) - (across - 1) / 2) * step;
        this.y[column.first + number] = height / 2 + (Math.floor(number / across) - (down - 1) / 2) * step;
      }
      this.radius.push(column.grid ? step / 2 : Math.min(4.5, Math.max(0.8, step * 0.36)));
      this.centre.push(centre);
      left += widths[place] + gap;
    });
    for (const canvas of [this.base, this.lit]) {
      canvas.width = this.width * scale;
      canvas.height = this.height * scale;
      canvas.style.width = `${this.width}px`;
      canvas.style.height = `${this.height}px`;
      canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
    this.picture.style.width = `${this.width}px`;
    this.boxes = new Map();
    for (let dot = 0; dot < this.x.length; dot++) {
      const box = boxOf(this.x[dot], this.y[dot]);
      if (!this.boxes.has(box)) this.boxes.set(box, []);
      this.boxes.get(box).push(dot);
    }
  }

  /** The dot under a point; -1 if none is near. */
  dotAt(x, y) {
    let found = -1, nearest = REACH * REACH;
    for (const right of [-REACH, 0, REACH]) {
      for (const down of [-REACH, 0, REACH]) {
        for (const dot of this.boxes.get(boxOf(x + right, y + down)) || []) {
          const distance = (this.x[dot] - x) ** 2 + (this.y[dot] - y) ** 2;
          if (distance < nearest) [found, nearest] = [dot, distance];
        }
      }
    }
    return found;
  }

  /** Scroll as far as need be to see a dot. */
  reveal(dot) {
    const frame = this.picture.parentElement, x = this.x[dot];
    frame.scrollLeft = Math.min(Math.max(frame.scrollLeft, x + GAP - frame.clientWidth), x - GAP);
  }

  // What is drawn.

  isShown(edge) {
    const chosen = form.elements.edges ? form.elements.edges.value : "all";
    if (form.elements.hide.checked && !this.onPath[edge]) return false;
    return chosen === "all" || (chosen === "both") === Boolean(this.shared[edge]);
  }

  draw() {
    const context = this.base.getContext("2d");
    const colours = coloursNow();
    context.clearRect(0, 0, this.width, this.height);
    const shown = [...this.source.keys()].filter((edge) => this.isShown(edge));
    this.drawTies(context, colours, [...Array(this.ties.length / 2).keys()]);
    this.drawEdges(context, colours, shown, Math.min(1, Math.sqrt(6000 / Math.max(shown.length, 1))));
    for (const place of this.columns.keys()) this.drawGround(context, colours, place);
    for (let dot = 0; dot < this.x.length; dot++) this.drawDot(context, colours, dot);
    this.drawNames(context, colours);
  }

  /** Edges in rising order of strength, after those on no path. */
  drawEdges(context, colours, edges, opacity) {
    const [off, on] = [0, 1].map((isOn) => edges.filter((edge) => this.onPath[edge] === isOn));
    context.globalAlpha = opacity * 0.5;
    context.lineWidth = 0.5;
    context.strokeStyle = colours["off-path"];
    for (const edge of off) this.stroke(context, edge);
    for (const edge of on) {
      const level = this.level[edge] / 255;
      context.globalAlpha = opacity * (0.15 + 0.8 * level);
      context.lineWidth = 0.4 + 2 * level * level;
      context.strokeStyle = this.value[edge] < 0 ? colours.negative : colours.positive;
      this.stroke(context, edge);
    }
    context.globalAlpha = 1;
  }

  stroke(context, edge) {
    // One by one: what many wide lines cover together takes Chromium several times as long to find out.
    context.beginPath();
    this.line(context, this.source[edge], this.target[edge]);
    context.stroke();
  }

  drawTies(context, colours, numbers) {
    const path = new Path2D(), count = this.ties.length / 2;
    for (const number of numbers) this.line(path, this.ties[number], this.ties[count + number]);
    context.setLineDash([2, 4]);
    context.lineWidth = 0.7;
    context.strokeStyle = colours.tie;
    context.stroke(path);
    context.setLineDash([]);
  }

  /** A straight line to the next column, an arc over those between. */
  line(path, from, to) {
    const [x1, y1, x2, y2] = [this.x[from], this.y[from], this.x[to], this.y[to]];
    path.moveTo(x1, y1);
    if (Math.abs(this.column[to] - this.column[from]) < 2) {
      path.lineTo(x2, y2);
    } else {
      const lift = Math.max(8, Math.min(y1, y2) - 0.12 * Math.abs(x2 - x1));
      path.bezierCurveTo(x1 + (x2 - x1) * 0.3, lift, x1 + (x2 - x1) * 0.7, lift, x2, y2);
    }
  }

  /** Under an image, so that lines seem to leave it from its rim. */
  drawGround(context, colours, place) {
    const { grid, first, dots } = this.columns[place], radius = this.radius[place];
    if (!grid) return;
    const [left, top] = [this.x[first] - radius, this.y[first] - radius], last = first + dots - 1;
    context.fillStyle = colours.card;
    context.fillRect(left, top, this.x[last] + radius - left, this.y[last] + radius - top);
  }

  /** A dot as what it is, or in a colour. */
  drawDot(context, colours, dot, colour = null, grown = 1) {
    const radius = this.radius[this.column[dot]] * grown, [x, y] = [this.x[dot], this.y[dot]];
    const isDead = this.state[dot] === DEAD;
    if (this.columns[this.column[dot]].grid) {
      context.globalAlpha = colour || isDead ? 1 : 0.2 + 0.8 * (this.fanOut[dot] / this.largestFanOut);
      context.fillStyle = colour || (isDead ? colours.cell : colours.unit);
      context.fillRect(x - radius + 0.25, y - radius + 0.25, 2 * radius - 0.5, 2 * radius - 0.5);
      context.globalAlpha = 1;
      return;
    }
    context.beginPath();
    context.arc(x, y, isDead && !colour ? radius * 0.85 : radius, 0, 2 * Math.PI);
    context.fillStyle = colour || (isDead ? colours.card : this.state[dot] === OFF_PATH ? colours["off-path"] : colours.unit);
    context.fill();
    if (isDead && !colour) {
      context.strokeStyle = colours.dead;
      context.lineWidth = Math.min(1.2, radius * 0.6);
      context.stroke();
    }
  }

  drawNames(context, colours) {
    context.font = FONT;
    context.fillStyle = colours.soft;
    this.columns.forEach((column, place) => {
      context.save();
      context.translate(this.centre[place], this.bottom + 4);
      if (this.areNamesUpright) context.rotate(-Math.PI / 2);
      context.textAlign = this.areNamesUpright ? "right" : "center";
      context.textBaseline = this.areNamesUpright ? "middle" : "top";
      context.fillText(shortened(context, column.name, 150), 0, 0);
      context.restore();
    });
  }

  // The unit in focus.

  light(dot) {
    const context = this.lit.getContext("2d");
    context.clearRect(0, 0, this.width, this.height);
    this.picture.classList.toggle("is-lit", dot >= 0);
    this.tip.hidden = dot < 0;
    if (dot < 0) return;
    const colours = coloursNow(), count = this.ties.length / 2;
    const edges = [...this.incoming(dot), ...this.outgoing(dot)].filter((edge) => this.isShown(edge));
    this.drawNames(context, colours);
    const tied = [...Array(count).keys()].filter((one) => this.ties[one] === dot || this.ties[count + one] === dot);
    this.drawTies(context, colours, tied);
    this.drawEdges(context, colours, edges, 1);
    for (const edge of edges) {
      const other = this.source[edge] === dot ? this.target[edge] : this.source[edge];
      this.drawDot(context, colours, other, this.value[edge] < 0 ? colours.negative : colours.positive);
    }
    for (const one of tied) this.drawDot(context, colours, this.ties[one] === dot ? this.ties[count + one] : this.ties[one]);
    this.drawDot(context, colours, dot, colours.text, 1.5);
    this.tell(dot);
  }

  name(dot) {
    const column = this.columns[this.column[dot]], number = dot - column.first, side = column.side;
    const range = (from, end) => (end - from > 1 ? `${from} to ${end - 1}` : `${from}`);
    if (column.grid) {
      const row = Math.floor(number / column.grid[1]) * side, place = (number % column.grid[1]) * side;
      return `${column.name}, row ${range(row, row + side)}, column ${range(place, place + side)}`;
    }
    if (!column.isLayer && side === 1) return `${column.name} ${number}`;
    const end = Math.min((number + 1) * side, column.units);
    return `${column.name}, unit${end - number * side > 1 ? "s" : ""} ${range(number * side, end)}`;
  }

  tell(dot) {
    const column = this.columns[this.column[dot]];
    const lines = [["state", ["dead", "alive, on no path", "alive"][this.state[dot]]]];
    if (column.isLayer) lines.push(["fan-in", this.counted(this.fanIn[dot], this.incoming(dot))]);
    lines.push(["fan-out", this.counted(this.fanOut[dot], this.outgoing(dot))]);
    const isRead = column.isLayer;
    const edges = [...(isRead ? this.incoming(dot) : this.outgoing(dot))].sort((a, b) => this.strength[b] - this.strength[a]);
    const strongest = edges.slice(0, LISTED).map((edge) => [this.name((isRead ? this.source : this.target)[edge]), this.worth(edge)]);
    const isOfSeveral = edges.some((edge) => this.size[edge] > 1);
    const heading = (isRead ? "Strongest inputs" : "Read most strongly by") + (isOfSeveral ? ": magnitude, weights kept" : "");
    const parts = [element("strong", this.name(dot)), list(lines)];
    if (strongest.length) parts.push(element("div", heading), list(strongest));
    const map = this.maps[column.name];
    if (map && column.isLayer) parts.push(mapImage(map, dot - column.first));
    this.tip.replaceChildren(...parts);
    this.tip.dataset.dot = dot;
    const isNarrow = this.stage.clientWidth < 560;
    const x = this.x[dot] - this.picture.parentElement.scrollLeft;
    this.tip.className = `tip ${isNarrow ? "below" : x > this.stage.clientWidth / 2 ? "left" : "right"}`;
  }

  /** How many weights there are, and how many of them are in edges that are drawn, if not all are. */
  counted(all, edges) {
    const drawn = edges.reduce((sum, edge) => sum + this.kept[edge], 0);
    return all.toLocaleString("en") + (drawn < all ? ` (${drawn.toLocaleString("en")} drawn)` : "");
  }

  /** A weight's value; of several the sum of magnitudes, with the sign of the sum, and how many of them are kept. */
  worth(edge) {
    const value = (this.value[edge] < 0 ? "\u2212" : "") + this.strength[edge].toPrecision(3);
    return this.size[edge] === 1 ? value : `${value} (${this.kept[edge]} of ${this.size[edge]})`;
  }
}

const FONT = "12px system-ui, sans-serif";

function boxOf(x, y) {
  return Math.floor(x / REACH) * 65536 + Math.floor(y / REACH);
}

function coloursNow() {
  const style = getComputedStyle(document.documentElement);
  const names = ["positive", "negative", "off-path", "unit", "dead", "tie", "cell", "card", "text", "soft"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function shortened(context, text, room) {
  let shown = text;
  for (let cut = 1; context.measureText(shown).width > room; cut++) shown = `\u2026${text.slice(cut)}`;
  return shown;
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function list(lines) {
  const made = document.createElement("dl");
  for (const [name, value] of lines) {
    made.append(element("dt", name), Object.assign(element("dd", value), { className: name }));
  }
  return made;
}

/** A unit's weights as an image: of one channel from orange over nothing to blue, of three as colours. */
function mapImage(map, unit) {
  const [channels, height, width] = map.shape, area = height * width;
  map.read = map.read || unpack(map.values, Int8Array);
  const values = map.read.subarray(unit * channels * area, (unit + 1) * channels * area);
  const canvas = Object.assign(document.createElement("canvas"), { width, height, className: "map" });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  const [positive, negative] = ["positive", "negative"].map((name) => bytesOf(coloursNow()[name]));
  for (let place = 0; place < area; place++) {
    const value = values[place];
    const pixel = channels === 3
      ? [0, 1, 2].map((channel) => 128 + values[channel * area + place]).concat(255)
      : [...(value < 0 ? negative : positive), Math.abs(value) * 2];
    image.data.set(pixel, 4 * place);
  }
  context.putImageData(image, 0, 0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "its weights as an image");
  return canvas;
}

function bytesOf(colour) {
  return [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
}
