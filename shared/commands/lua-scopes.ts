/** Resolves the names of a Lua script to local variables and globals, for the rewriting in lua-rewrite.ts. */
import type { Chunk, Expression, FunctionDeclaration, Identifier, Statement } from 'luaparse';

/** A local variable of a script. */
export interface Binding {
  readonly name: string;
  /** The number of functions around its declaration. */
  readonly depth: number;
  /** The values assigned to it; null for a value that is not known. */
  readonly assigned: (Expression | null)[];
  /** True if it only ever holds numbers, booleans or nil. */
  isPlain: boolean;
}

/** The local variables of a script, and the globals that it assigns to. */
export interface Scopes {
  /** The variable that an identifier refers to; undefined for a global. */
  readonly bindings: ReadonlyMap<Identifier, Binding>;
  readonly assignedGlobals: ReadonlySet<string>;
}

/** With operands that are numbers, booleans or nil, these operators yield such a value or raise an error. */
const arithmetic: ReadonlySet<string> = new Set(['+', '-', '*', '/', '%', '^']);
const comparisons: ReadonlySet<string> = new Set(['==', '~=', '<', '<=', '>', '>=']);

/** The maximum number of passes over the variables; one that is undecided after them may hold anything. */
const passesMaximum = 10;
/** The maximum nesting of blocks in Lua 5.1. */
const levelsMaximum = 200;

/** Resolves every identifier of a script. */
export function scopesOf(chunk: Chunk): Scopes {
  const resolver = new Resolver();
  resolver.block(chunk.body, new Map());
  if (resolver.assignedGlobals.has('ipairs')) {
    for (const binding of resolver.counted) binding.isPlain = false;
  }
  const scopes = { bindings: resolver.bindings, assignedGlobals: resolver.assignedGlobals };
  settle(resolver.declared, scopes);
  return scopes;
}

/** True if `expression` is always a number, a boolean or nil, and so never the name of a string function. */
export function isPlain(expression: Expression, scopes: Scopes): boolean {
  switch (expression.type) {
    case 'NumericLiteral':
    case 'BooleanLiteral':
    case 'NilLiteral':
      return true;
    case 'Identifier':
      return scopes.bindings.get(expression)?.isPlain === true;
    case 'UnaryExpression':
      return expression.operator !== '-' || isPlain(expression.argument, scopes);
    case 'LogicalExpression':
      return isPlain(expression.left, scopes) && isPlain(expression.right, scopes);
    case 'BinaryExpression':
      if (comparisons.has(expression.operator)) return true;
      if (!arithmetic.has(expression.operator)) return false;
      return isPlain(expression.left, scopes) && isPlain(expression.right, scopes);
    case 'CallExpression':
      return isPlainCall(expression.base, scopes);
    default:
      return false;
  }
}

/** The name of the global that an expression refers to, or null if it is not one or the script assigns to it. */
export function globalName(expression: Expression, scopes: Scopes): string | null {
  if (expression.type !== 'Identifier' || scopes.bindings.has(expression)) return null;
  return scopes.assignedGlobals.has(expression.name) ? null : expression.name;
}

/** `tonumber`, and all of `math`. */
function isPlainCall(base: Expression, scopes: Scopes): boolean {
  if (base.type === 'MemberExpression') return globalName(base.base, scopes) === 'math';
  return globalName(base, scopes) === 'tonumber';
}

function settle(declared: readonly Binding[], scopes: Scopes): void {
  for (let pass = 0; pass < passesMaximum; pass += 1) {
    let isSettled = true;
    for (const binding of declared) {
      if (!binding.isPlain) continue;
      binding.isPlain = binding.assigned.every((one) => one !== null && isPlain(one, scopes));
      isSettled &&= binding.isPlain;
    }
    if (isSettled) return;
  }
  for (const binding of declared) binding.isPlain = false;
}

type Names = Map<string, Binding>;

class Resolver {
  readonly bindings = new Map<Identifier, Binding>();
  readonly assignedGlobals = new Set<string>();
  readonly declared: Binding[] = [];
  /** First variables of loops over `ipairs`: numbers, unless the script redefines `ipairs`. */
  readonly counted: Binding[] = [];
  #scopes: Names[] = [];
  #depth = 0;

  /** Resolves statements in a new scope, and `inScope` in the same scope. */
  block(statements: readonly Statement[], names: Names, inScope: Expression | null = null): void {
    // Lua has the same bound, so deep nesting cannot exhaust the stack here.
    if (this.#scopes.length >= levelsMaximum) throw new RangeError('nested too deeply');
    this.#scopes.push(names);
    for (const statement of statements) this.#statement(statement);
    if (inScope !== null) this.#expression(inScope);
    this.#scopes.pop();
  }

  #declare(names: Names, { name }: Identifier, assigned: readonly (Expression | null)[]): Binding {
    const binding: Binding = { name, depth: this.#depth, assigned: [...assigned], isPlain: true };
    this.declared.push(binding);
    names.set(name, binding);
    return binding;
  }

  #find(name: string): Binding | undefined {
    return this.#scopes.findLast((names) => names.has(name))?.get(name);
  }

  #function(node: FunctionDeclaration): void {
    this.#depth += 1;
    const names: Names = new Map();
    const self = node.identifier?.type === 'MemberExpression' && node.identifier.indexer === ':';
    if (self) this.#declare(names, { type: 'Identifier', name: 'self' }, [null]);
    for (const one of node.parameters) {
      if (one.type === 'Identifier') this.#declare(names, one, [null]);
      // Lua 5.1 declares the variable `arg` in a vararg function, unless the function uses `...`.
      else this.#declare(names, { type: 'Identifier', name: 'arg' }, [null]);
    }
    this.block(node.body, names);
    this.#depth -= 1;
  }

  #statement(node: Statement): void {
    switch (node.type) {
      case 'LocalStatement': {
        for (const value of node.init) this.#expression(value);
        const names = this.#scopes.at(-1) ?? new Map();
        for (const [index, variable] of node.variables.entries()) {
          this.#declare(names, variable, valueAt(node.init, index));
        }
        break;
      }
      case 'AssignmentStatement':
        for (const value of node.init) this.#expression(value);
        for (const [index, target] of node.variables.entries()) {
          this.#expression(target);
          if (target.type === 'Identifier') this.#assign(target, valueAt(node.init, index));
        }
        break;
      case 'FunctionDeclaration':
        if (node.identifier?.type === 'Identifier' && node.isLocal) {
          this.#declare(this.#scopes.at(-1) ?? new Map(), node.identifier, [null]);
        }
        if (node.identifier !== null) this.#expression(node.identifier);
        if (node.identifier?.type === 'Identifier') this.#assign(node.identifier, [null]);
        this.#function(node);
        break;
      case 'CallStatement':
        this.#expression(node.expression);
        break;
      case 'ReturnStatement':
        for (const value of node.arguments) this.#expression(value);
        break;
      case 'IfStatement':
        for (const clause of node.clauses) {
          if (clause.type !== 'ElseClause') this.#expression(clause.condition);
          this.block(clause.body, new Map());
        }
        break;
      case 'DoStatement':
        this.block(node.body, new Map());
        break;
      case 'WhileStatement':
        this.#expression(node.condition);
        this.block(node.body, new Map());
        break;
      case 'RepeatStatement':
        this.block(node.body, new Map(), node.condition);
        break;
      case 'ForNumericStatement': {
        for (const one of [node.start, node.end, node.step])
          if (one !== null) this.#expression(one);
        const names: Names = new Map();
        this.#declare(names, node.variable, []);
        this.block(node.body, names);
        break;
      }
      case 'ForGenericStatement': {
        for (const one of node.iterators) this.#expression(one);
        const names: Names = new Map();
        for (const [index, one] of node.variables.entries()) {
          const isCounted = index === 0 && this.#isCounted(node.iterators);
          const binding = this.#declare(names, one, isCounted ? [] : [null]);
          if (isCounted) this.counted.push(binding);
        }
        this.block(node.body, names);
        break;
      }
    }
  }

  /** True if the loop is over `ipairs`, whose first variable is a number. */
  #isCounted([first, ...rest]: readonly Expression[]): boolean {
    if (first?.type !== 'CallExpression' || rest.length > 0) return false;
    const { base } = first;
    return base.type === 'Identifier' && base.name === 'ipairs' && !this.bindings.has(base);
  }

  #assign(target: Identifier, values: readonly (Expression | null)[]): void {
    const binding = this.bindings.get(target);
    if (binding === undefined) this.assignedGlobals.add(target.name);
    else binding.assigned.push(...values);
  }

  #expression(node: Expression): void {
    switch (node.type) {
      case 'Identifier': {
        const binding = this.#find(node.name);
        if (binding !== undefined) this.bindings.set(node, binding);
        break;
      }
      case 'FunctionDeclaration':
        this.#function(node);
        break;
      case 'TableConstructorExpression':
        for (const field of node.fields) {
          if (field.type === 'TableKey') this.#expression(field.key);
          this.#expression(field.value);
        }
        break;
      case 'UnaryExpression':
        this.#expression(node.argument);
        break;
      case 'BinaryExpression':
      case 'LogicalExpression':
        this.#expression(node.left);
        this.#expression(node.right);
        break;
      case 'MemberExpression':
        this.#expression(node.base);
        break;
      case 'IndexExpression':
        this.#expression(node.base);
        this.#expression(node.index);
        break;
      case 'CallExpression':
        this.#expression(node.base);
        for (const one of node.arguments) this.#expression(one);
        break;
      case 'TableCallExpression':
        this.#expression(node.base);
        this.#expression(node.arguments);
        break;
      case 'StringCallExpression':
        this.#expression(node.base);
        break;
    }
  }
}

/** The value of the variable at `index`: empty for nil, null for a result of a call or of `...`. */
function valueAt(values: readonly Expression[], index: number): readonly (Expression | null)[] {
  const value = values[index];
  if (value !== undefined) return [value];
  const last = values.at(-1);
  const isMany = last !== undefined && mayBeMany(last);
  return isMany ? [null] : [];
}

/** True if an expression may yield any number of values at the end of a list. */
export function mayBeMany({ type }: Expression): boolean {
  return (
    type === 'CallExpression' ||
    type === 'TableCallExpression' ||
    type === 'StringCallExpression' ||
    type === 'VarargLiteral'
  );
}
