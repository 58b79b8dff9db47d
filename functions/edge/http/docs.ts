/** The public pages: the OpenAPI document, its viewer, and an explanation of each problem type. */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { etag } from 'hono/etag';
import {
  failure,
  isProblemName,
  problemKinds,
  problemType,
} from '../../../shared/http/problems.ts';
import type { EdgeDependencies } from './dependencies.ts';
import { docsAssets } from './docs-assets.ts';
import { openApiOf } from './openapi-document.ts';
import { answerJson, answerProblem, type EdgeEnvironment } from './respond.ts';

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Lockstep API</title>
    <link rel="icon" href="/docs/favicon-32x32.png">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="page"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

const start = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#page', deepLinking: true });\n`;

/** Allows only files of this origin, since the page loads nothing else. */
const pagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** `/openapi.json`, `/docs` and `/problems/:name`. All are public, and none calls a coordinator or a region. */
export function mountDocs(
  app: OpenAPIHono<EdgeEnvironment>,
  dependencies: Pick<EdgeDependencies, 'asset'>,
): void {
  const text = openApiOf(app);
  app.use('/openapi.json', etag());
  app.get('/openapi.json', (context) =>
    context.body(text(), 200, {
      'Content-Type': 'application/json; charset=utf-8',
      'Cache-Control': 'public, max-age=300',
    }),
  );
  app.get('/', (context) => context.redirect('/docs'));
  app.get('/docs', (context) => context.html(page, 200, { 'Content-Security-Policy': pagePolicy }));
  app.get('/docs/start.js', (context) =>
    context.body(start, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }),
  );
  for (const name of docsAssets) app.get(`/docs/${name}`, () => dependencies.asset(name));

  app.get('/problems/:name', (context) => {
    const name = context.req.param('name');
    if (!isProblemName(name)) {
      const detail = 'There is no problem type with this name.';
      const names = Object.keys(problemKinds);
      return answerProblem(context, failure('not-found', detail, { names }).problem);
    }
    const { status, title, remedy } = problemKinds[name];
    return answerJson({ type: problemType(name), title, status, remedy });
  });
}
