/** Makes the texts of scripts: modules, sets of names, and texts without comments. */

/** A quoted or long string of Lua, which stays unchanged, or an operator with the spaces around it. */
const textOrOperator =
  /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\[(=*)\[[\s\S]*?\]\2\])| *([=~<>]=|[=<>,{}+*#]) */g;

/** The names as a string for `isNamed` of base.lua: each run of the script would have to fill a table again. */
export function setText(name: string, names: ReadonlySet<string>): string {
  return `local ${name}=' ${[...names].join(' ')} '`;
}

/** Wraps a text in a function: only its callers pay for its definitions, and its names stay local. */
export function moduleOf(name: string, text: string): string {
  return `local function ${name}(...)\n${text}\nend`;
}

/**
 * Strips comments and spaces, because the first use of a script sends its whole text. The empty first line of the table
 * of commands is significant and stays.
 */
export function withoutComments(text: string): string {
  return text
    .replaceAll(/^[ \t]*--.*$/gm, '')
    .replaceAll(/^ +/gm, '')
    .replaceAll(textOrOperator, '$1$3')
    .replaceAll(/,$\n/gm, ',')
    .replaceAll(/(?<!\[==\[)\n{2,}/g, '\n')
    .replaceAll(/\nend$/gm, ' end');
}
