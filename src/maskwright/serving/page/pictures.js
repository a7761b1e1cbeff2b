/** A picture and what the server made of it; files to download. Nothing here touches the page. */

import { Corrections } from "./brush.js";
import { agree, classTable, isLevel, levelOf, lookUp, sampleClasses, thresholdOf, VALUES } from "./mask.js";
import { readPng, writePng } from "./png.js";
import { predict } from "./server.js";
import { cover } from "./stage.js";

const THUMBNAIL = 160;

/** One picture of the gallery. */
export class Picture {
  /** @param {File} file */
  constructor(file) {
    this.file = file;
    this.name = file.name || "pasted.png";
    /** @type {"waiting" | "working" | "ready" | "failed"} */
    this.status = "waiting";
    this.sentence = "";
    this.isSaved = false;
    /** Whether what was corrected has left the page, by a download or for training. */
    this.isKept = false;
    /** Files of the server that the plane is read from. */
    this.replies = null;
    /** @type {Corrections | null} */
    this.corrections = null;
    this.cutout = { threshold: undefined, file: null };
    /** A small copy of the picture and of its plane, for the gallery. */
    this.thumbnail = null;
  }

  /** What the picture's files are called, without a suffix. */
  get stem() {
    return this.name.replace(/\.[^.]*$/, "");
  }

  /** As the server had it, with what was painted since; null while it is not at hand. */
  get plane() {
    return this.corrections?.plane ?? null;
  }

  get isCorrected() {
    return this.corrections?.isChanged ?? false;
  }
}

/** The picture as the browser shows it, turned as its camera says. */
export async function decodePicture(picture) {
  try {
    return await createImageBitmap(picture.file);
  } catch {
    throw new Error(`${picture.name} is a file that this browser cannot show; a JPEG, PNG or WebP of it will do.`);
  }
}

/** Ask the server for a picture's mask, and make its thumbnail. */
export async function askForMask(picture, model, onWait) {
  const bitmap = await decodePicture(picture);
  picture.thumbnail = drawThumbnail(bitmap);
  const asked = model.binary ? ["soft", ...(isLevel(model.threshold) ? [] : ["mask"])] : ["mask"];
  const replies = [];
  for (const output of asked) replies.push(await predict(picture.file, output, null, onWait));
  picture.replies = replies;
  await openPlane(picture, model);
  const { width, height } = picture.plane;
  if (width !== bitmap.width || height !== bitmap.height) {
    picture.corrections = null;
    throw new Error(`${picture.name} has ${bitmap.width}x${bitmap.height} pixels here and ${width}x${height} there.`);
  }
  picture.thumbnail.plane = thumbnailPlane(picture);
  bitmap.close();
}

/** Have the picture's plane at hand. */
export async function openPlane(picture, model) {
  if (!picture.corrections) picture.corrections = new Corrections(await readPlane(picture, model));
}

/** Let go of the plane, unless somebody has painted on it. */
export function closePlane(picture) {
  if (!picture.isCorrected) picture.corrections = null;
}

/** The small plane anew, after corrections. */
export function thumbnailPlane({ plane, thumbnail }) {
  const all = Uint8Array.from({ length: VALUES }, (_, value) => value);
  const { width, height } = thumbnail.picture;
  const whole = { left: 0, top: 0, width: plane.width, height: plane.height };
  return sampleClasses(plane, all, whole, width, height);
}

/** Level at which a model's own mask is shown; null for several classes, which have none. */
export function ownLevel(model) {
  return model.binary ? levelOf(model.threshold) : null;
}

/** What to ask the server for at a level: nothing where that is the model's own threshold. */
export function thresholdAt(level, model) {
  return level === ownLevel(model) ? null : thresholdOf(level);
}

/** The mask as `maskwright predict` writes it: 0 and 255 of two classes, else indices with a palette. */
export async function maskFile(picture, model, level) {
  await openPlane(picture, model);
  const { plane } = picture;
  if (level === null) return writePng(plane, model.classes.map((one) => rgbOf(one.colour)));
  return writePng({ ...plane, data: lookUp(plane.data, blackAndWhite(level)) });
}

/** The mask as the server collects it: 0 and 255, or grey values that are the indices of classes. */
export function collectedMask(picture, level) {
  const { plane } = picture;
  return writePng(level === null ? plane : { ...plane, data: lookUp(plane.data, blackAndWhite(level)) });
}

/**
 * The cutout as a file: the server's own, whose edges are clean; where the mask was corrected, the correction decides.
 */
export async function cutoutFile(picture, model, level, onWait) {
  const threshold = level === null ? null : thresholdAt(level, model);
  if (picture.cutout.threshold !== threshold) {
    picture.cutout = { threshold, file: await predict(picture.file, "cutout", threshold, onWait) };
  }
  return picture.isCorrected ? correctCutout(picture, model, classTable(level)) : picture.cutout.file;
}

/** The picture over another background. */
export async function backgroundFile(picture, model, level, background, onWait) {
  const cutout = await createImageBitmap(await cutoutFile(picture, model, level, onWait));
  const context = contextOf(cutout.width, cutout.height);
  cover(context, cutout, background);
  context.drawImage(cutout, 0, 0);
  return fileOf(context);
}

async function readPlane(picture, model) {
  const [{ data, width, height }, own] = await Promise.all(picture.replies.map(readPng));
  if (own) agree(data, own.data, levelOf(model.threshold));
  return { data, width, height };
}

async function correctCutout(picture, model, table) {
  const { width, height } = picture.plane;
  const before = lookUp((await readPlane(picture, model)).data, table);
  const now = lookUp(picture.plane.data, table);
  const context = contextOf(width, height);
  context.drawImage(await decodePicture(picture), 0, 0);
  const colours = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const cutout = await readPng(picture.cutout.file);
  const pixels = new ImageData(new Uint8ClampedArray(cutout.data), width, height);
  const mixed = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < now.length; i++) {
    const isForeground = now[i] !== 0;
    if (isForeground !== (before[i] !== 0)) mixed[i] = isForeground ? colours[i] : 0;
  }
  context.putImageData(pixels, 0, 0);
  return fileOf(context);
}

function drawThumbnail(bitmap) {
  const scale = THUMBNAIL / Math.max(bitmap.width, bitmap.height);
  const context = contextOf(Math.max(1, bitmap.width * scale), Math.max(1, bitmap.height * scale));
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, context.canvas.width, context.canvas.height);
  return { picture: context.canvas, plane: null };
}

function blackAndWhite(level) {
  return classTable(level).map((value) => 255 * value);
}

function rgbOf(colour) {
  return [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16));
}

function contextOf(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas.getContext("2d");
}

function fileOf({ canvas }) {
  return new Promise((resolve, reject) => {
    const refuse = () => reject(new Error("This picture is too large for this browser; `maskwright predict` makes it."));
    canvas.toBlob((file) => (file ? resolve(file) : refuse()), "image/png");
  });
}
