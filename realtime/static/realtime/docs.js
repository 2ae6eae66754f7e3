// The page of the OpenAPI document.

const { schema, csrfHeader, csrfToken } = document.body.dataset;

SwaggerUIBundle({
  url: schema,
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  // Somebody who is logged in with a session may try out what changes something.
  requestInterceptor(request) {
    const own = new URL(request.url, location.href).origin === location.origin;
    if (own && !["GET", undefined].includes(request.method)) request.headers[csrfHeader] = csrfToken;
    return request;
  },
});
