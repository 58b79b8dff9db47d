import luaparse, {
  type BinaryExpression,
  type Expression,
  type FunctionDeclaration,
  type Identifier,
  type MemberExpression,
  type Node,
  type Statement,
  type TableConstructorExpression,
} from 'luaparse';
import { applied, type Edit, Place, skipSpace } from './lua-edits.ts';
import {
  type Binding,
  globalName,
  isPlain,
  mayBeMany,
  type Scopes,
  scopesOf,
} from './lua-scopes.ts';

/**
 * Rewrites a user's script so that a region can limit its work. The environment of a script cannot intercept operators
 * or methods of strings, so the text gets calls around them. Line numbers stay, because errors name them.
 *
 * | in the script | as it runs | why |
 * | --- | --- | --- |
 * | loops | `__lockstep(steps, bytes)` comes first | each pass is counted, with its size |
 * | functions | `__lockstep_f(steps, bytes, frame)` comes first | a suspended coroutine keeps its stack |
 * | functions with `...` | `__lockstep_v(1, 1, 9, ...)` or `__lockstep_a(1, 1, 9, arg)` | the arguments are counted |
 * | `a .. b` | `__lockstep_c(a .. b)` | the new string is counted |
 * | `{ f() }`, `{ ... }` | `__lockstep_t({ f() })` | so are the items, if their number is not in the text |
 * | `a < b` | `__lockstep_o(a) < b` | comparing strings follows the locale, at a cost |
 * | `t[k] = v`, `t.__mode = v` | `t[__lockstep_k(k)] = v`, `__lockstep_w(t).__mode = v` | weak tables are not allowed |
 * | `x.rep`, `x[k]` | `__lockstep_g(x.rep)` | on a string these names reach the server's own functions |
 * | `x:rep(n)` | `__lockstep_m(x, "rep", "local 'x'")(n)` | the same for methods |
 * | `return string.rep(x)` | `return __lockstep_p(string.rep(x))` | errors name the line, which a tail call loses |
 */
export const counterName = '__lockstep';

/** The methods of strings in every server that runs Lua. Access by another name cannot reach one of them. */
const methods: ReadonlySet<string> = new Set(
  (
    'byte char dump find format gfind gmatch gsub len lower match pack packsize rep reverse sub unpack upper ' +
    'endswith split startswith'
  ).split(' '),
);

/** The field of a metatable that makes a table weak: its items would vanish with the garbage collector. */
const weakening: ReadonlySet<string> = new Set(['__mode']);

/** Globals with functions of Lockstep's own, which raise errors at the line of their caller. */
const ownTables: ReadonlySet<string> = new Set(
  'bit cjson cmsgpack coroutine math string struct table'.split(' '),
);
const ownFunctions: ReadonlySet<string> = new Set(
  (
    'assert collectgarbage error getmetatable load loadstring next pairs rawget rawset setmetatable tonumber tostring ' +
    'unpack'
  ).split(' '),
);

/** The memory of a table, of an item of a table, and of a function in Lua 5.1, in bytes. */
const tableBytes = 56;
const itemBytes = 40;
const functionBytes = 64;
/** The number of syntax nodes that count as one step. */
const partsPerStep = 32;
/** Variables beyond this number are counted per call of their function, because a deep recursion keeps them all. */
const variablesFree = 40;
const variableBytes = 16;
/** The memory of an upvalue in bytes, and the maximum number of upvalues of a function in Lua 5.1. */
const heldBytes = 48;
const heldMaximum = 60;
/** The maximum number of values in a stack frame, and the bytes that a frame itself takes. */
const frameValues = 250;
const frameBytes = 64;
/** Strings of unknown length that are joined before their result is counted; a longer chain is counted in between. */
const joinedAtOnce = 3;

/** Code that runs as a unit: a whole script, or the body of a loop or a function. */
interface Block {
  parts: number;
  /** Including the parts of the loops inside. */
  allParts: number;
  bytes: number;
  variables: number;
  hasVarargs: boolean;
}

/** Returns the rewritten text, or null if it is not Lua 5.1 or is nested too deeply. */
export function rewriteLua(text: string): string | null {
  try {
    const chunk = luaparse.parse(text, { luaVersion: '5.1', ranges: true, comments: false });
    const writer = new Rewriter(text, scopesOf(chunk));
    writer.main(chunk.body);
    return applied(text, writer.edits);
  } catch (error) {
    // The parser raises syntax errors, and range errors if the text is nested too deeply.
    if (error instanceof SyntaxError || error instanceof RangeError) return null;
    throw error;
  }
}

/** The range of a node in the text, which the parser's types omit. */
function rangeOf(node: Node): readonly [number, number] {
  const { range } = node as Node & { readonly range: readonly [number, number] };
  return range;
}

class Rewriter {
  readonly edits: Edit[] = [];
  readonly #text: string;
  readonly #scopes: Scopes;
  /** The upvalues of each enclosing function. */
  readonly #held: Set<Binding>[] = [];
  #block: Block = newBlock();
  #depth = 0;

  constructor(text: string, scopes: Scopes) {
    this.#text = text;
    this.#scopes = scopes;
  }

  main(body: readonly Statement[]): void {
    this.#statements(body);
    this.#count(0, this.#block, counterName);
  }

  #insert(at: number, place: Place, text: string): void {
    this.edits.push({ from: at, to: at, place, text });
  }

  #wrap(node: Node, name: string): void {
    const [from, to] = rangeOf(node);
    this.#insert(from, Place.opening, `${counterName}_${name}(`);
    this.#insert(to, Place.closing, ')');
  }

  #count(at: number, { parts, bytes }: Block, name: string, rest = ''): void {
    const steps = 1 + Math.floor(parts / partsPerStep);
    // Lua 5.1 shares one constant for 0 and -0, so the inserted text must not contain a 0.
    this.#insert(at, Place.counting, ` ${name}(${steps},${bytes || 1}${rest});`);
  }

  /** Runs `work` with a new block, and returns that block with its counts. */
  #within(work: () => void): Block {
    const outer = this.#block;
    const block = newBlock();
    this.#block = block;
    work();
    this.#block = outer;
    return block;
  }

  #statements(body: readonly Statement[]): void {
    for (const statement of body) this.#statement(statement);
  }

  #loop(at: number, body: readonly Statement[], condition: Expression | null = null): void {
    const block = this.#within(() => {
      if (condition !== null) this.#expression(condition, false);
      this.#statements(body);
    });
    this.#block.variables += block.variables;
    this.#block.hasVarargs ||= block.hasVarargs;
    this.#block.allParts += block.parts + block.allParts;
    this.#count(at, block, counterName);
  }

  #function(node: FunctionDeclaration): void {
    const { identifier, parameters, body } = node;
    this.#block.bytes += functionBytes;
    const last = parameters.at(-1) ?? identifier;
    const from = last === null ? rangeOf(node)[0] + 'function'.length : rangeOf(last)[1];
    const at = this.#behind(from, ')');
    this.#depth += 1;
    const held = new Set<Binding>();
    this.#held.push(held);
    const block = this.#within(() => this.#statements(body));
    this.#held.pop();
    this.#depth -= 1;
    this.#block.bytes += Math.min(heldMaximum, held.size) * heldBytes;
    const variables = Math.min(frameValues, block.variables + parameters.length);
    block.bytes += Math.max(0, variables - variablesFree) * variableBytes;
    const values = Math.min(frameValues, variables + block.parts + block.allParts);
    const frame = frameBytes + values * variableBytes;
    const isMany = parameters.some(({ type }) => type === 'VarargLiteral');
    // Lua 5.1 collects the arguments in the table `arg` if the function does not use `...`.
    const hasTable = !block.hasVarargs && /\barg\b/.test(this.#text.slice(...rangeOf(node)));
    if (!isMany) this.#count(at, block, `${counterName}_f`, `,${frame}`);
    else if (hasTable) this.#count(at, block, `${counterName}_a`, `,${frame},arg`);
    else this.#count(at, block, `${counterName}_v`, `,${frame},...`);
  }

  /** Records a variable as an upvalue of each function that captures it. */
  #mention(node: Identifier): void {
    const binding = this.#scopes.bindings.get(node);
    if (binding === undefined) return;
    for (const held of this.#held.slice(binding.depth)) held.add(binding);
  }

  #statement(node: Statement): void {
    this.#block.parts += 1;
    switch (node.type) {
      case 'LocalStatement':
        this.#block.variables += node.variables.length;
        this.#values(node.init);
        break;
      case 'AssignmentStatement':
        for (const target of node.variables) this.#target(target);
        this.#values(node.init);
        break;
      case 'FunctionDeclaration':
        this.#block.variables += 1;
        if (node.identifier?.type === 'MemberExpression') this.#block.bytes += itemBytes;
        this.#function(node);
        break;
      case 'CallStatement':
        this.#expression(node.expression, false);
        break;
      case 'ReturnStatement':
        this.#return(node.arguments);
        break;
      case 'IfStatement':
        for (const clause of node.clauses) {
          if (clause.type !== 'ElseClause') this.#expression(clause.condition, false);
          this.#statements(clause.body);
        }
        break;
      case 'DoStatement':
        this.#statements(node.body);
        break;
      case 'WhileStatement':
        this.#loop(this.#behind(rangeOf(node.condition)[1], 'do'), node.body, node.condition);
        break;
      case 'RepeatStatement':
        this.#loop(rangeOf(node)[0] + 'repeat'.length, node.body, node.condition);
        break;
      case 'ForNumericStatement': {
        this.#block.variables += 4;
        const last = node.step ?? node.end;
        for (const one of [node.start, node.end, node.step]) {
          if (one !== null) this.#expression(one, false);
        }
        this.#loop(this.#behind(rangeOf(last)[1], 'do'), node.body);
        break;
      }
      case 'ForGenericStatement': {
        this.#block.variables += 3 + node.variables.length;
        this.#values(node.iterators);
        const last = node.iterators.at(-1);
        const from = last === undefined ? 0 : rangeOf(last)[1];
        this.#loop(this.#behind(from, 'do'), node.body);
        break;
      }
    }
  }

  #return(values: readonly Expression[]): void {
    const [first] = values;
    if (values.length === 1 && first !== undefined && this.#isOwnCall(first))
      this.#wrap(first, 'p');
    this.#values(values);
  }

  /** Wraps a tail call of one of Lockstep's own functions: as a tail call its error would lose the caller's line. */
  #isOwnCall(node: Expression): boolean {
    if (!('base' in node) || node.type === 'MemberExpression' || node.type === 'IndexExpression') {
      return false;
    }
    const { base } = node;
    if (base.type !== 'MemberExpression') {
      return ownFunctions.has(globalName(base, this.#scopes) ?? '');
    }
    const { identifier, indexer } = base;
    if (indexer === ':') return methods.has(identifier.name);
    return ownTables.has(globalName(base.base, this.#scopes) ?? '');
  }

  /** An assignment evaluates the table of the field, but does not read the field. */
  #target(node: Expression): void {
    if (node.type === 'Identifier') {
      this.#mention(node);
      return;
    }
    this.#block.bytes += itemBytes;
    if (node.type === 'MemberExpression' && weakening.has(node.identifier.name)) {
      this.#wrap(node.base, 'w');
    }
    if (node.type === 'IndexExpression' && this.#mayBe(weakening, node.index)) {
      this.#wrap(node.index, 'k');
    }
    if (node.type === 'MemberExpression' || node.type === 'IndexExpression') {
      this.#expression(node.base, true);
    }
    if (node.type === 'IndexExpression') this.#expression(node.index, true);
  }

  #values(nodes: readonly Expression[]): void {
    for (const node of nodes) this.#expression(node, true);
  }

  /** `flows` is false if the value cannot be kept: it is only tested, compared or converted to a number. */
  #expression(node: Expression, flows: boolean): void {
    this.#block.parts += 1;
    switch (node.type) {
      case 'Identifier':
        this.#mention(node);
        break;
      case 'VarargLiteral':
        this.#block.hasVarargs = true;
        break;
      case 'NumericLiteral':
        // The parser ends a number earlier than Lua does.
        if (/[\w.]/.test(this.#text[rangeOf(node)[1]] ?? '')) throw new SyntaxError(node.raw);
        break;
      case 'FunctionDeclaration':
        this.#function(node);
        break;
      case 'TableConstructorExpression':
        this.#table(node);
        break;
      case 'UnaryExpression':
        this.#expression(node.argument, false);
        break;
      case 'LogicalExpression':
        this.#expression(node.left, flows);
        this.#expression(node.right, flows);
        break;
      case 'BinaryExpression':
        this.#binary(node);
        break;
      case 'MemberExpression':
        if (flows && this.#isOfStrings(node)) this.#wrap(node, 'g');
        this.#expression(node.base, true);
        break;
      case 'IndexExpression':
        if (flows && this.#mayBe(methods, node.index)) this.#wrap(node, 'g');
        this.#expression(node.base, true);
        this.#expression(node.index, true);
        break;
      case 'CallExpression':
        this.#call(node.base, node.arguments, rangeOf(node));
        break;
      case 'StringCallExpression':
        this.#call(node.base, [node.argument], rangeOf(node));
        break;
      case 'TableCallExpression':
        this.#call(node.base, [node.arguments], rangeOf(node));
        break;
    }
  }

  #binary(node: BinaryExpression): void {
    const { operator, left, right } = node;
    if (operator === '..') {
      this.#join(node);
      return;
    }
    const isComparison = /[=<>]/.test(operator);
    const isOrder = /[<>]/.test(operator);
    if (isOrder && [left, right].every((one) => isOpen(one) && !isPlain(one, this.#scopes))) {
      this.#wrap(left, 'o');
    }
    // A metamethod of the other operand would receive this one.
    this.#expression(left, !isComparison && !isPlain(right, this.#scopes));
    this.#expression(right, !isComparison && !isPlain(left, this.#scopes));
  }

  /** Concatenation is right-associative: the last operands are joined first. */
  #join(whole: BinaryExpression): void {
    const suffixes = [whole];
    for (
      let { right } = whole;
      right.type === 'BinaryExpression' && right.operator === '..';
      { right } = right
    ) {
      suffixes.push(right);
    }
    const operands = suffixes.map(({ left }) => left);
    const last = suffixes.at(-1)?.right;
    if (last !== undefined) operands.push(last);
    const starts: number[] = [];
    let room = joinedAtOnce;
    for (let index = operands.length - 1; index >= 0; index -= 1) {
      const operand = operands[index];
      if (operand === undefined || !isOpen(operand)) continue;
      if (room === 0) {
        starts.push(index + 1);
        room = joinedAtOnce - 1;
      }
      room -= 1;
    }
    for (const start of [...starts, 0].toSorted((a, b) => a - b)) {
      const suffix = suffixes[start];
      if (suffix !== undefined) this.#wrap(suffix, 'c');
    }
    this.#values(operands);
  }

  #table(node: TableConstructorExpression): void {
    this.#block.bytes += tableBytes + node.fields.length * itemBytes;
    const last = node.fields.at(-1);
    if (last?.type === 'TableValue' && mayBeMany(last.value)) this.#wrap(node, 't');
    for (const field of node.fields) {
      this.#block.parts += 1;
      if (field.type === 'TableKey') this.#expression(field.key, true);
      this.#expression(field.value, true);
    }
  }

  #call(base: Expression, given: readonly Expression[], [, to]: readonly [number, number]): void {
    const isMethod = base.type === 'MemberExpression' && base.indexer === ':';
    if (isMethod && methods.has(base.identifier.name)) this.#method(base);
    else this.#expression(isMethod ? base.base : base, true);
    // `f{...}` has no parentheses to insert a call into.
    const isBare = given[0]?.type === 'TableConstructorExpression' && this.#text[to - 1] !== ')';
    if (isBare) this.#insert(rangeOf(given[0] ?? base)[0], Place.opening, '(');
    this.#values(given);
    if (isBare) this.#insert(to, Place.closing, ')');
  }

  /** Looks up the method before the arguments are evaluated, as Lua does. */
  #method(node: MemberExpression): void {
    const { base, identifier } = node;
    const [from] = rangeOf(node);
    this.#block.bytes += functionBytes;
    const head = this.#behindParentheses(rangeOf(base)[1]);
    const [, end] = rangeOf(identifier);
    this.#insert(from, Place.opening, `${counterName}_m(`);
    this.#expression(base, true);
    const lines = this.#text.slice(head, end).replaceAll(/[^\r\n]/g, '');
    const text = `,"${identifier.name}",${this.#hint(base)}${lines})`;
    this.edits.push({ from: head, to: end, place: Place.counting, text });
  }

  /** The description of the receiver in Lua's error if it has no such method, e.g. `local 'x'`. */
  #hint(base: Expression): string {
    if (base.type === 'Identifier') {
      const binding = this.#scopes.bindings.get(base);
      if (binding === undefined) return `"global '${base.name}'"`;
      return `"${binding.depth === this.#depth ? 'local' : 'upvalue'} '${base.name}'"`;
    }
    if (base.type === 'MemberExpression') return `"field '${base.identifier.name}'"`;
    return base.type === 'IndexExpression' ? `"field '?'"` : 'nil';
  }

  /** True if the field has the name of a string method and is not a member of one of the script's own globals. */
  #isOfStrings({ base, identifier }: MemberExpression): boolean {
    if (!methods.has(identifier.name)) return false;
    return !ownTables.has(globalName(base, this.#scopes) ?? '');
  }

  /** True if the index may be one of these names. */
  #mayBe(names: ReadonlySet<string>, index: Expression): boolean {
    if (index.type !== 'StringLiteral') return !isPlain(index, this.#scopes);
    const [quote = '', ...rest] = index.raw;
    const text = rest.slice(0, -1).join('');
    // A literal in another notation may be any name.
    return quote === '[' || text.includes('\\') || names.has(text);
  }

  /** The position after `word`, which is the next token from `from` on besides parentheses, comments and space. */
  #behind(from: number, word: string): number {
    let at = skipSpace(this.#text, from);
    while (!this.#text.startsWith(word, at) && at < this.#text.length) {
      at = skipSpace(this.#text, at + 1);
    }
    return at + word.length;
  }

  /** The position after the closing parentheses that follow `from`. */
  #behindParentheses(from: number): number {
    let at = from;
    for (let next = skipSpace(this.#text, at); this.#text[next] === ')'; ) {
      at = next + 1;
      next = skipSpace(this.#text, at);
    }
    return at;
  }
}

function newBlock(): Block {
  return { parts: 0, allParts: 0, bytes: 0, variables: 0, hasVarargs: false };
}

function isOpen({ type }: Expression): boolean {
  return type !== 'StringLiteral' && type !== 'NumericLiteral';
}
