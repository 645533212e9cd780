// Plays HLS: through hls.js wherever the browser lets pages feed a player, so that it is the same
// everywhere; else (iPhones) the browser does it by itself. Nothing is fetched before somebody
// presses play.
const HLS = "application/vnd.apple.mpegurl";

const load = () => import("./hls/hls.light.min.mjs").then((module) => module.default);

/** What has a video play a stream, and returns a function that takes it out; null if nothing can. */
export async function playerOf(url) {
  const Hls = await load().catch(() => null);
  if (Hls?.isSupported()) {
    return (video, { onTrouble }) =>
      feed(new Hls(OPTIONS), Hls.Events.ERROR, { video, url, onTrouble });
  }
  return document.createElement("video").canPlayType(HLS) ? (video) => playItself(video, url) : null;
}

function playItself(video, url) {
  video.src = url;
  play(video);
  return () => {};
}

// To give a video another source stops it.
const play = (video) => video.play().catch(() => {}); // whoever wants to sees the button

// No worker: there is nothing to repack in fragmented MP4, and the page's policy allows none.
const OPTIONS = { enableWorker: false, capLevelToPlayerSize: true, maxBufferLength: 20 };

function feed(hls, failure, { video, url, onTrouble }) {
  hls.attachMedia(video);
  hls.loadSource(url);
  hls.on(failure, (_, { fatal }) => {
    if (fatal) onTrouble();
  });
  play(video);
  return () => hls.destroy();
}
