/** The row of pictures: a tile for each, which shows its mask as the controls say. */

import { colourClasses, lookUp } from "./mask.js";
import { colours } from "./stage.js";

const STATES = { waiting: "waiting", working: "finding the mask …", ready: "", failed: "no mask" };

/**
 * Show the tiles anew.
 * @param {HTMLElement} list Its last child, which adds pictures, stays.
 * @param {import("./pictures.js").Picture[]} pictures
 * @param {import("./pictures.js").Picture | null} selected
 * @param {{select: Function, remove: Function}} hands
 */
export function showTiles(list, pictures, selected, { select, remove }) {
  const known = new Map([...list.querySelectorAll("li:not(.add)")].map((tile) => [tile.picture, tile]));
  for (const picture of pictures) {
    if (!known.has(picture)) list.insertBefore(makeTile(picture, select, remove), list.lastElementChild);
  }
  for (const [picture, tile] of known) {
    if (!pictures.includes(picture)) tile.remove();
  }
  for (const tile of list.querySelectorAll("li:not(.add)")) updateTile(tile, tile.picture === selected);
}

/** Draw the masks of the tiles anew. */
export function drawTiles(list, look) {
  for (const tile of list.querySelectorAll("li:not(.add)")) drawTile(tile, look);
}

function makeTile(picture, select, remove) {
  const tile = document.createElement("li");
  tile.picture = picture;
  tile.innerHTML = `<button class="tile" type="button"><canvas aria-hidden="true"></canvas><span class="name"></span>
    <span class="state"></span></button><button class="remove" type="button"><span aria-hidden="true">×</span></button>`;
  tile.querySelector(".name").textContent = picture.name;
  tile.querySelector(".tile").title = picture.name;
  tile.querySelector(".tile").addEventListener("click", () => select(picture));
  tile.querySelector(".remove").addEventListener("click", () => remove(picture));
  tile.querySelector(".remove").setAttribute("aria-label", `Remove ${picture.name}`);
  return tile;
}

function updateTile(tile, isSelected) {
  const { picture } = tile;
  const said = picture.isSaved ? "saved" : picture.isCorrected ? "corrected" : picture.sentence || STATES[picture.status];
  tile.className = picture.status;
  tile.querySelector(".state").textContent = picture.status === "failed" ? STATES.failed : said || "ready";
  const button = tile.querySelector(".tile");
  if (isSelected) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}

function drawTile({ picture, firstElementChild }, look) {
  if (!picture.thumbnail) return;
  const canvas = firstElementChild.querySelector("canvas");
  const { width, height } = picture.thumbnail.picture;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(picture.thumbnail.picture, 0, 0);
  if (!picture.thumbnail.plane) return;
  const { fills } = colours({ ...look, view: "overlay", strength: Math.max(0.5, look.strength) });
  const pixels = new ImageData(width, height);
  const classes = lookUp(picture.thumbnail.plane, look.table);
  colourClasses(classes, width, fills, null, 1, new Uint32Array(pixels.data.buffer));
  context.drawImage(canvasOf(pixels), 0, 0);
}

function canvasOf(pixels) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [pixels.width, pixels.height];
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}
