"use strict";

{
  const EVERY_MS = 5000;
  const content = document.querySelector("#realtime-overview .overview-content");
  const failure = document.querySelector("#realtime-overview .overview-failure");

  const renew = async () => {
    try {
      const answer = await fetch(content.dataset.url, { redirect: "error" });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      const part = new DOMParser().parseFromString(await answer.text(), "text/html");
      content.replaceChildren(...part.body.childNodes);
      failure.textContent = "";
    } catch (error) {
      failure.textContent = `Not renewed: ${error.message}.`;
    }
  };

  const loop = async () => {
    if (!document.hidden) await renew();
    setTimeout(loop, EVERY_MS);
  };

  if (content) loop();
}
