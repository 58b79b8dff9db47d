/** Arguments and errors of the scripts of package.json: each has `--help`, and none shows a stack trace or JSON. */
import process from 'node:process';
import { type ParseArgsConfig, parseArgs } from 'node:util';

/**
 * Parses the arguments of this process. With `--help`, prints the help and exits with 0; if the arguments are invalid,
 * prints the reason and the help and exits with 1.
 */
export function readArguments<const Config extends ParseArgsConfig>(
  help: string,
  config: Config,
): ReturnType<typeof parseArgs<Config>> {
  if (process.argv.slice(2).includes('--help')) {
    console.log(help.trimEnd());
    process.exit(0);
  }
  try {
    return parseArgs(config);
  } catch (error) {
    return refuse(help, messageOf(error));
  }
}

/** Prints the fault of the arguments and the help, and exits with 1. */
export function refuse(help: string, reason: string): never {
  console.error(`${reason}\n\n${help.trimEnd()}`);
  process.exit(1);
}

/** The message of a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The title and detail of a problem response (RFC 9457), or the start of any other response body. */
export function problemIn(body: string): string {
  try {
    const { title, detail }: { readonly title?: unknown; readonly detail?: unknown } =
      JSON.parse(body);
    const words = [title, detail].filter((text) => typeof text === 'string');
    if (words.length > 0) return words.join('. ');
  } catch {
    // Not JSON, such as the response of a proxy.
  }
  return body.slice(0, 200);
}
