// Decodes a BlurHash: a few cosine waves per colour, written as 20 to 30 letters.
//
// The letters are base 83. The first tells how many waves there are each way, the second the
// loudest of them, the next four the average colour; then every wave has two letters: its three
// colours in 19 steps each, spread so that quiet waves get the finer steps.

const LETTERS =
  "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

function number(hash, from, to) {
  let value = 0;
  for (const letter of hash.slice(from, to)) {
    const digit = LETTERS.indexOf(letter);
    if (digit < 0) throw new RangeError("not a BlurHash letter");
    value = value * 83 + digit;
  }
  return value;
}

// Light adds up in linear values, screens take sRGB: the waves are summed in the first.
function toLinear(byte) {
  const value = byte / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
}

function toByte(linear) {
  const value = Math.min(1, Math.max(0, linear));
  const curved = value <= 0.0031308 ? value * 12.92 : 1.055 * value ** (1 / 2.4) - 0.055;
  return Math.round(curved * 255);
}

function averageColour(value) {
  return [value >> 16, (value >> 8) & 255, value & 255].map(toLinear);
}

function waveColour(value, loudest) {
  return [Math.floor(value / 361), Math.floor(value / 19) % 19, value % 19].map((step) => {
    const signed = (step - 9) / 9;
    return Math.sign(signed) * signed * signed * loudest;
  });
}

function readWaves(hash) {
  const size = number(hash, 0, 1);
  const columns = (size % 9) + 1;
  const rows = Math.floor(size / 9) + 1;
  if (hash.length !== 4 + 2 * columns * rows) throw new RangeError("not a whole BlurHash");
  const loudest = (number(hash, 1, 2) + 1) / 166;
  const colours = [averageColour(number(hash, 2, 6))];
  for (let at = 6; at < hash.length; at += 2) {
    colours.push(waveColour(number(hash, at, at + 2), loudest));
  }
  return { columns, rows, colours };
}

// How strong each wave is at each pixel along one side: worked out once, not per pixel.
function cosines(pixels, waves) {
  return Array.from({ length: pixels }, (_, pixel) =>
    Array.from({ length: waves }, (_, wave) => Math.cos((Math.PI * wave * pixel) / pixels)),
  );
}

function colourAt({ columns, rows, colours }, across, down) {
  const sum = [0, 0, 0];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const strength = across[column] * down[row];
      colours[row * columns + column].forEach((part, i) => {
        sum[i] += part * strength;
      });
    }
  }
  return sum;
}

/** The pixels (RGBA bytes) of a hash; throws RangeError when it is none. */
export function decode(hash, width, height) {
  const waves = readWaves(hash);
  const across = cosines(width, waves.columns);
  const down = cosines(height, waves.rows);
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      pixels.set(colourAt(waves, across[x], down[y]).map(toByte), (y * width + x) * 4);
    }
  }
  return pixels;
}

// So few pixels are enough: the browser stretches them as smoothly as the waves are.
const LONG_SIDE = 32;

/** Paint a hash on a canvas in the picture's proportions; false when there is nothing to paint. */
export function paint(canvas, hash, { width = 1, height = 1 } = {}) {
  const scale = LONG_SIDE / Math.max(width, height, 1);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  try {
    const pixels = decode(hash, canvas.width, canvas.height);
    canvas.getContext("2d").putImageData(new ImageData(pixels, canvas.width), 0, 0);
  } catch {
    return false; // a placeholder is never worth an error
  }
  return true;
}
