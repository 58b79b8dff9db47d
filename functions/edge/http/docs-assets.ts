/** The files of swagger-ui-dist that `GET /docs` loads: the only ones that are uploaded and served. */
export const docsAssets = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'] as const;
