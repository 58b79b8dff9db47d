import type { Resolution } from '../../contracts/coordinator.ts';
import { keyOf } from '../../ids.ts';
import { limits } from '../../limits.ts';
import type { CoordinatorEvent } from '../io/events.ts';
import type { ReadyBuilder } from '../io/ready-builder.ts';
import type { Loan } from '../transactions/loan.ts';
import { resolutionOf } from '../transactions/resolution.ts';
import type { Transactions } from '../transactions/transactions.ts';
import type { Loans } from './loans.ts';

/** The parts of the coordinator that these questions need. */
export interface LoanQuestionsParts {
  readonly ready: ReadyBuilder;
  readonly transactions: Transactions;
  readonly loans: Loans;
}

type Question = Extract<CoordinatorEvent, { kind: 'resolution-requested' }>;

/** A reader's question that waits for the word of a home, and the loans that it is about. */
interface OpenQuestion {
  readonly question: Question;
  readonly loans: readonly Loan[];
  /** How often each loan's home had said that it is undecided when the question came. */
  readonly pendings: ReadonlyMap<string, number>;
  /** Its reader waits no longer, ms. */
  readonly until: number;
}

/**
 * Questions of readers about locks of loans (rule R61). Only home knows whether such a transaction is committed, so the
 * answer waits for its word, which has to follow the question.
 */
export class LoanQuestions {
  readonly #parts: LoanQuestionsParts;
  #open: OpenQuestion[] = [];

  constructor(parts: LoanQuestionsParts) {
    this.#parts = parts;
  }

  /** True while a reader waits. */
  get busy(): boolean {
    return this.#open.length > 0;
  }

  /** Takes in a question; false if no open loan is among its transactions. */
  take(question: Question): boolean {
    const { transactions, loans } = this.#parts;
    const lent = question.transactions.flatMap((order) => transactions.findLoan(order) ?? []);
    if (lent.length === 0) return false;
    // A word on its way may be older than the question.
    const pendings = new Map(
      lent.map((loan) => [keyOf(loan.order), loan.pendings + Number(loan.isAsking)]),
    );
    const until = this.#parts.ready.now + limits.timeoutMsDefault;
    this.#open.push({ question, loans: lent, pendings, until });
    this.#parts.ready.schedule(until);
    for (const loan of lent) loans.askSoon(loan);
    return true;
  }

  /** Answers the questions whose loans are all known. Called in each step. */
  advance(): void {
    if (this.#open.length === 0) return;
    this.#open = this.#open.filter((open) => !this.#answer(open));
  }

  #answer({ question, loans, pendings, until }: OpenQuestion): boolean {
    const isKnown = (loan: Loan) =>
      loan.state !== 'lent' || loan.pendings > (pendings.get(keyOf(loan.order)) ?? 0);
    const isOver = until <= this.#parts.ready.now;
    if (!isOver && !loans.every(isKnown)) {
      this.#parts.ready.schedule(until);
      for (const loan of loans)
        if (!isKnown(loan) && !loan.isAsking) this.#parts.loans.askAgain(loan);
      return false;
    }
    const { ticket, transactions, recorded, horizon } = question;
    const resolutions = transactions.map((order): Resolution => {
      const loan = loans.find((one) => keyOf(one.order) === keyOf(order));
      if (loan === undefined) {
        const isUndecided = this.#parts.transactions.isUndecided(order);
        return resolutionOf(order, recorded, isUndecided, horizon);
      }
      // Nobody here knows whether it is committed: the reader has to go elsewhere.
      if (!isKnown(loan)) return { kind: 'forgotten', transaction: order };
      if (loan.state === 'lent') return { kind: 'pending', transaction: order };
      if (loan.state !== 'committed') return { kind: 'aborted', transaction: order };
      const { keys, otherShares } = loan;
      return { kind: 'committed', transaction: order, keys, otherShares };
    });
    this.#parts.ready.reply({ kind: 'resolutions', ticket, resolutions });
    return true;
  }
}
