/**
 * The picture with its result over it, at the size of the screen.
 *
 * Only what shows is computed: planes are looked up at the pixels of the screen, so that a slider moves as smoothly over
 * a large photograph as over a small one. Two canvases lie on each other, and the compare slider clips the upper one.
 */

import { colourClasses, sampleClasses, VALUES } from "./mask.js";

const NEAREST = 16;

/**
 * What is to be seen of a picture.
 * @typedef {object} Look
 * @property {"overlay" | "mask" | "cutout" | "background"} view
 * @property {Uint8Array} table The class of each value of the plane.
 * @property {{colour: string, isBackground: boolean, isShown: boolean}[]} classes
 * @property {number} strength Of the overlay, 0 to 1.
 * @property {ImageBitmap | null} cutout The picture's cutout once it is there; until then its edges are hard.
 * @property {string | ImageBitmap} background
 */

/** Cover a size with a colour, or with a picture that is not stretched: its middle, as large as fits. */
export function cover(context, { width, height }, background) {
  if (typeof background === "string") {
    context.fillStyle = background;
    context.fillRect(0, 0, width, height);
    return;
  }
  const scale = Math.max(width / background.width, height / background.height);
  const [wide, high] = [background.width * scale, background.height * scale];
  context.drawImage(background, (width - wide) / 2, (height - high) / 2, wide, high);
}

/** A colour such as #e69f00 as a canvas keeps it, with an opacity of 0 to 1. */
export function packColour(colour, opacity) {
  const rgb = Number.parseInt(colour.slice(1), 16);
  const bytes = [rgb >> 16, (rgb >> 8) & 255, rgb & 255, Math.round(255 * opacity)];
  return new DataView(Uint8Array.from(bytes).buffer).getUint32(0, IS_LITTLE_ENDIAN);
}

/** What each class is filled with, and what its outline is drawn in where there is one. */
export function colours({ view, classes, strength }) {
  const fills = new Uint32Array(VALUES);
  const lines = new Uint32Array(VALUES);
  classes.forEach((one, index) => {
    if (view === "mask") {
      const shade = classes.length > 2 ? one.colour : ["#000000", "#ffffff"][index];
      fills[index] = packColour(one.isShown ? shade : "#000000", 1);
    } else if (view === "overlay" && one.isShown && !one.isBackground) {
      fills[index] = packColour(one.colour, strength);
      lines[index] = packColour(one.colour, Math.min(1, 2 * strength));
    } else if (view !== "overlay" && !one.isBackground) {
      fills[index] = packColour("#000000", 1);
    }
  });
  return { fills, lines: view === "overlay" ? lines : null };
}

const IS_LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

export class Stage {
  /** @param {HTMLElement} root Holds two canvases. */
  constructor(root) {
    this.root = root;
    [this.picture, this.result] = root.querySelectorAll("canvas");
    this.layer = document.createElement("canvas");
    /** @type {ImageBitmap | null} */
    this.bitmap = null;
    /** @type {{data: Uint8Array, width: number, height: number} | null} */
    this.plane = null;
    /** @type {Look | null} */
    this.look = null;
    this.zoom = 1;
    this.middle = { x: 0, y: 0 };
    this.isDue = { picture: false, result: false };
    /** Called when the view was enlarged or made smaller. */
    this.onZoom = () => {};
    new ResizeObserver(() => this.#resize()).observe(root);
  }

  /** Show a picture, whole. */
  show(bitmap) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.plane = null;
    this.root.style.setProperty("--ratio", String(bitmap.width / bitmap.height));
    this.#resize();
    this.zoomTo(1);
  }

  /** Show nothing. */
  clear() {
    this.bitmap?.close();
    this.bitmap = this.plane = null;
    for (const canvas of [this.picture, this.result]) canvas.width = canvas.height = 1;
  }

  /** Enlarge, around a point of the picture that stays where it is. */
  zoomTo(zoom, point = this.middle) {
    if (!this.bitmap) return;
    const nearest = Math.max(1, NEAREST * Math.max(1, this.bitmap.width / this.picture.width));
    const chosen = Math.min(nearest, Math.max(1, zoom));
    const share = this.zoom / chosen;
    this.middle = {
      x: point.x + (this.middle.x - point.x) * share,
      y: point.y + (this.middle.y - point.y) * share,
    };
    this.zoom = chosen;
    this.root.classList.toggle("zoomed", chosen > 1);
    this.moveTo(this.middle);
    this.onZoom();
  }

  /** Bring a point of the picture to the middle, as far as its edges allow. */
  moveTo({ x, y }) {
    const { width, height } = this.part();
    this.middle = {
      x: Math.min(this.bitmap.width - width / 2, Math.max(width / 2, x)),
      y: Math.min(this.bitmap.height - height / 2, Math.max(height / 2, y)),
    };
    this.draw({ picture: true });
  }

  /** Bring a point into view, moving no further than needed. */
  reveal({ x, y }) {
    const { left, top, width, height } = this.part();
    const inside = (place, start, length) => Math.min(place - length * 0.1, Math.max(place - length * 0.9, start));
    this.moveTo({ x: inside(x, left, width) + width / 2, y: inside(y, top, height) + height / 2 });
  }

  /** What shows, in pixels of the picture. */
  part() {
    const [width, height] = [this.bitmap.width / this.zoom, this.bitmap.height / this.zoom];
    return { left: this.middle.x - width / 2, top: this.middle.y - height / 2, width, height };
  }

  /** Pixels of the picture in one pixel of the page. */
  scale() {
    return this.part().width / this.root.clientWidth;
  }

  /** The point of the picture under a point of the window. */
  pointAt({ clientX, clientY }) {
    const { left, top } = this.root.getBoundingClientRect();
    const part = this.part();
    return { x: part.left + (clientX - left) * this.scale(), y: part.top + (clientY - top) * this.scale() };
  }

  /** Draw anew before the next frame. */
  draw({ picture = false } = {}) {
    const isAsked = this.isDue.picture || this.isDue.result;
    this.isDue = { picture: this.isDue.picture || picture, result: true };
    if (!isAsked) requestAnimationFrame(() => this.#drawNow());
  }

  #resize() {
    if (!this.bitmap || !this.root.clientWidth) return;
    const density = Math.min(2, window.devicePixelRatio || 1);
    for (const canvas of [this.picture, this.result]) {
      canvas.width = Math.round(this.root.clientWidth * density);
      canvas.height = Math.round(this.root.clientHeight * density);
    }
    this.draw({ picture: true });
  }

  #drawNow() {
    if (this.bitmap && this.isDue.picture) this.#drawPicture(this.picture.getContext("2d"));
    if (this.bitmap && this.isDue.result) this.#drawResult();
    this.isDue = { picture: false, result: false };
  }

  #drawPicture(context) {
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    this.#drawPart(context, this.bitmap);
  }

  #drawPart(context, bitmap) {
    const { left, top, width, height } = this.part();
    context.imageSmoothingEnabled = width > context.canvas.width / 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, left, top, width, height, 0, 0, context.canvas.width, context.canvas.height);
  }

  #drawResult() {
    const context = this.result.getContext("2d");
    const { width, height } = this.result;
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, width, height);
    if (!this.plane || !this.look) return;
    const { view, cutout, background } = this.look;
    if (cutout && (view === "cutout" || view === "background")) {
      this.#drawPart(context, cutout);
    } else {
      this.#drawLayer(context);
      if (view === "cutout" || view === "background") {
        context.globalCompositeOperation = "source-in";
        this.#drawPart(context, this.bitmap);
      }
    }
    if (view === "background") {
      context.globalCompositeOperation = "destination-over";
      this.#drawBehind(context, background);
    }
  }

  /** The background where it will be in the whole picture, however far the view is enlarged. */
  #drawBehind(context, background) {
    const { left, top } = this.part();
    const scale = context.canvas.width / this.part().width;
    const whole = { width: this.bitmap.width * scale, height: this.bitmap.height * scale };
    context.save();
    context.translate(-left * scale, -top * scale);
    context.beginPath();
    context.rect(0, 0, whole.width, whole.height);
    context.clip();
    cover(context, whole, background);
    context.restore();
  }

  #drawLayer(context) {
    const part = this.part();
    // Twice as many places as pixels make edges smooth, where there are not as many anyway.
    const density = (window.devicePixelRatio || 1) < 1.5 ? 2 : 1;
    const share = Math.min(1, (density * this.result.width) / part.width);
    this.layer.width = Math.max(1, Math.round(part.width * share));
    this.layer.height = Math.max(1, Math.round(part.height * share));
    const classes = sampleClasses(this.plane, this.look.table, part, this.layer.width, this.layer.height);
    const { fills, lines } = colours(this.look);
    const pixels = new ImageData(this.layer.width, this.layer.height);
    const reach = Math.max(1, Math.round((this.layer.width / this.root.clientWidth) * 0.75));
    colourClasses(classes, this.layer.width, fills, lines, reach, new Uint32Array(pixels.data.buffer));
    this.layer.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = this.layer.width > this.result.width / 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.layer, 0, 0, this.result.width, this.result.height);
  }
}
