// Plays HLS: through hls.js wherever the browser lets pages feed a player, so that it is the same
// everywhere; else (iPhones) the browser does it by itself. Nothing is fetched before somebody
// presses play.
const HLS = "application/vnd.apple.mpegurl";

const load = () => import("./hls/hls.light.min.mjs").then((module) => module.default);

/** Have a video play a stream; resolves to a function that takes it out, or null. */
export async function streamInto(video, url, { onTrouble, mayBegin }) {
  const Hls = await load().catch(() => null);
  if (!mayBegin()) return null;
  if (Hls?.isSupported()) return feed(new Hls(OPTIONS), Hls.Events.ERROR, { video, url, onTrouble });
  if (video.canPlayType(HLS)) video.src = url;
  return null;
}

// No worker: there is nothing to repack in fragmented MP4, and the page's policy allows none.
const OPTIONS = { enableWorker: false, capLevelToPlayerSize: true, maxBufferLength: 20 };

function feed(hls, failure, { video, url, onTrouble }) {
  const begin = () => hls.loadSource(url);
  hls.attachMedia(video);
  video.addEventListener("play", begin, { once: true });
  hls.on(failure, (_, { fatal }) => {
    if (fatal) onTrouble();
  });
  return () => {
    video.removeEventListener("play", begin);
    hls.destroy();
  };
}
