import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { drawDiagnosis, type ToldDiagnosis } from './pages/doctor-table.ts';
import { printableLines } from './pages/printable.ts';
import { paintFor } from './playground/timeline.ts';

/** `npm run doctor`: whether each region is what it has to be, and what to do where it is not. */

const help = `npm run doctor -- [options]

Looks at the stack that npm start runs here, or at a deployment:

  --url <address>     of the API
  --token <token>     with the scope admin; better as the variable LOCKSTEP_TOKEN, which no list of processes shows

Ends with 1 where there is a problem.
`;

const localFile = resolve('.lockstep', 'local.json');
/** A region without an answer takes some seconds, and there may be several. */
const timeoutMs = 120_000;
/** For a file or a pipe, which have no width. */
const columnsDefault = 100;

interface Target {
  readonly url: string;
  readonly token: string;
}

/** Where to look, or null where help was asked for. */
function readTarget(): Target | null {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      token: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const token = values.token ?? process.env.LOCKSTEP_TOKEN;
  if (values.url !== undefined) {
    if (!URL.canParse(values.url)) throw new Error('--url takes an address such as https://….');
    if (token === undefined || token === '') {
      throw new Error('A token with the scope admin is needed: set LOCKSTEP_TOKEN.');
    }
    return { url: values.url, token };
  }
  if (!existsSync(localFile)) {
    throw new Error('Nothing is running here. Run npm start in another terminal, or give --url.');
  }
  const local: { readonly url: string; readonly tokens: { readonly admin: string } } = JSON.parse(
    readFileSync(localFile, 'utf8'),
  );
  return { url: local.url, token: values.token ?? local.tokens.admin };
}

/** Asks for the diagnosis. Throws with a sentence for people where there is none. */
async function askDoctor({ url, token }: Target): Promise<ToldDiagnosis> {
  const address = new URL('/v1/admin/doctor', url);
  const headers = { authorization: `Bearer ${token}` };
  const signal = AbortSignal.timeout(timeoutMs);
  const response = await fetch(address, { headers, signal }).catch((error: unknown) => {
    const reason = error instanceof Error ? String(error.cause ?? error.message) : 'no answer';
    throw new Error(`${address.origin} cannot be reached: ${reason}`);
  });
  const text = await response.text();
  if (response.status === 200) return JSON.parse(text);
  throw new Error(`${address.origin} answers ${response.status}: ${problemIn(text)}`);
}

function problemIn(text: string): string {
  try {
    const { title, detail }: { readonly title?: unknown; readonly detail?: unknown } =
      JSON.parse(text);
    return `${String(title)}. ${String(detail)}`;
  } catch {
    return text.slice(0, 200);
  }
}

async function main(): Promise<number> {
  const target = readTarget();
  if (target === null) {
    console.log(help);
    return 0;
  }
  const diagnosis = await askDoctor(target);
  const paint = paintFor(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);
  const columns = process.stdout.columns ?? columnsDefault;
  for (const line of drawDiagnosis(diagnosis, columns, paint)) console.log(printableLines(line));
  return diagnosis.verdict === 'problem' ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(printableLines(error instanceof Error ? error.message : String(error)));
  process.exitCode = 1;
}
