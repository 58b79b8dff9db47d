/** `npm run doctor`: checks that each region meets the requirements, and shows the remedy for each fault. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';
import { messageOf, problemIn, readArguments } from './command-line.ts';
import { type DiagnosisResponse, drawDiagnosis } from './pages/doctor-table.ts';
import { printableLines } from './pages/printable.ts';
import { paintFor } from './playground/timeline.ts';

const help = `Usage: npm run doctor -- [options]

Checks the regions of the stack of npm start, or of a deployment, and shows a remedy for each fault.

  --url <address>     the address of the API
  --token <token>     a token with the scope admin. The environment variable LOCKSTEP_TOKEN is safer: lists of processes
                      do not show it.
  --help              show this text

The exit code is 1 if a check finds a problem.
`;

const localFile = resolve('.lockstep', 'local.json');
/** In ms. A silent region takes some seconds, and there may be several. */
const timeoutMs = 120_000;
/** The width for files and pipes, which have none. */
const columnsDefault = 100;

interface Target {
  readonly url: string;
  readonly token: string;
}

/** The deployment to check, by the arguments, or the local one. */
function readTarget(): Target {
  const { values } = readArguments(help, {
    options: { url: { type: 'string' }, token: { type: 'string' } },
  });
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

/** Requests the diagnosis. Throws an Error with a message for users if that fails. */
async function askDoctor({ url, token }: Target): Promise<DiagnosisResponse> {
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

async function main(): Promise<number> {
  const diagnosis = await askDoctor(readTarget());
  const paint = paintFor(process.stdout.isTTY === true && process.env.NO_COLOR === undefined);
  const columns = process.stdout.columns ?? columnsDefault;
  for (const line of drawDiagnosis(diagnosis, columns, paint)) console.log(printableLines(line));
  return diagnosis.verdict === 'problem' ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(printableLines(messageOf(error)));
  process.exitCode = 1;
}
