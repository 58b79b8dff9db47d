/** wrangler's Text rule (and the tests' transform) imports Lua as a string. */
declare module '*.lua' {
  const text: string;
  export default text;
}
