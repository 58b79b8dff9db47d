/** An edge with fixed replies, and shortcuts for requests of the Upstash dialect. */
import { decided, type EdgeResponse, EdgeUnderTest, type Question, read } from './fakes.ts';

/** An edge whose nearest region returns `replies` for snapshots, and whose coordinator commits with `part`. */
export function edgeOf(replies = '[]', part = '[0,{"s":"OK"}]'): EdgeUnderTest {
  return new EdgeUnderTest(
    { write: async () => decided({ part }) },
    { 'us-east-1': [read(replies)] },
  );
}

/** Sends a GET. */
export function get(
  edge: EdgeUnderTest,
  path: string,
  question: Question = {},
): Promise<EdgeResponse> {
  return edge.ask('GET', path, question);
}

/** Sends a body. */
export function post(edge: EdgeUnderTest, path: string, body: unknown, question: Question = {}) {
  return edge.ask('POST', path, { ...question, body });
}
