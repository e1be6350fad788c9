/* An HTTP component made of ordinary JavaScript: its path chooses which web APIs it tries. */
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  const [, what, port] = url.pathname.split("/");
  if (what === "fetch") {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/from-js`, { method: "POST", body: "from JavaScript" });
      return new Response(`${response.status} ${await response.text()}`);
    } catch (error) {
      return new Response(`failed: ${error.name}`);
    }
  }
  if (what === "echo") return new Response(request.body, { headers: { "x-method": request.method } });
  if (what === "slow") {
    const encoder = new TextEncoder();
    let count = 0;
    const body = new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        if (++count > 5) controller.close();
        else controller.enqueue(encoder.encode(`tick ${count}\n`));
      },
    });
    return new Response(body);
  }
  if (what === "log") {
    console.log("to the log");
    console.error("to the error log");
  }
  const random = new Set(Array.from({ length: 10 }, () => Math.random()));
  return new Response(`${Date.now() > 1600000000000} ${random.size} ${request.headers.get("x-here")}`);
}
