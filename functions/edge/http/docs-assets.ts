/** The files of swagger-ui-dist that `GET /docs` loads. No other file of it is uploaded or served. */
export const docsAssets = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'] as const;
