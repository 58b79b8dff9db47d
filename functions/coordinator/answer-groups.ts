/** Passes the answers to a call with many writes on as they come. */
import type { AnswerGroup, GiveAnswers, WriteAnswer } from '../../shared/contracts/coordinator.ts';

/**
 * Passes answers that come together to `give` together, and returns the last ones once each write has its answer, and
 * `give` all others. A write whose promise rejects gets no answer: its caller asks again, by its own id.
 */
export async function answerInGroups(
  answers: readonly Promise<WriteAnswer>[],
  give: GiveAnswers,
): Promise<AnswerGroup> {
  const end = Promise.withResolvers<void>();
  const given: Promise<void>[] = [];
  let group: (readonly [number, WriteAnswer])[] = [];
  let left = answers.length;
  let isPlanned = false;
  const pass = () => {
    isPlanned = false;
    if (left === 0) return end.resolve();
    given.push(giveSafely(give, group));
    group = [];
  };
  const came = () => {
    left -= 1;
    if (isPlanned) return;
    isPlanned = true;
    // Answers of one step come in one row of continuations, which ends before this one runs.
    queueMicrotask(pass);
  };
  for (const [position, answer] of answers.entries()) {
    answer.then(
      (value) => {
        group.push([position, value]);
        came();
      },
      (error: unknown) => {
        console.error('a write of several failed', error);
        came();
      },
    );
  }
  if (left > 0) await end.promise;
  await Promise.all(given);
  return group;
}

/** The caller may be gone: the others of its call ask again, each by its own id. */
async function giveSafely(give: GiveAnswers, group: AnswerGroup): Promise<void> {
  if (group.length === 0) return;
  try {
    await give(group);
  } catch (error) {
    console.error('answers were not taken', error);
  }
}
