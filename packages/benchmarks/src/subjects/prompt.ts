// A question as the tokens that a language model reads: in its own chat template, with the picture's tokens where the
// template puts the picture. Models without a template get the words alone, LLaVA those of its paper.

import { FoveaError } from '@fovea/artifacts';
import type { ChatMessage, LanguageModel } from '@fovea/models';

/** Ids of a prompt up to where the answer begins. Throws a FoveaError where the picture has no place, or several. */
export function promptIds(
  { tokenizer, picture }: Pick<LanguageModel, 'tokenizer' | 'picture'>,
  words: string,
  system: string | null,
): number[] {
  const special = picture ? tokenizer.textOf(picture.token) : undefined;
  const text = tokenizer.hasTemplate
    ? tokenizer.render(messages(words, system, picture !== null))
    : [...(system === null ? [] : [system]), picture ? `USER: ${special}\n${words} ASSISTANT:` : words].join(' ');
  // A chat template writes out the token that begins a text, unless it is one of those around LLaVA.
  const isBegun = tokenizer.hasTemplate && (!picture || (tokenizer.begin !== null && text.startsWith(tokenizer.begin)));
  const ids = tokenizer.encode(text, { special: !isBegun });
  if (!picture) return ids;
  const places = ids.filter((id) => id === picture.token).length;
  if (places !== 1)
    throw new FoveaError(
      `The prompt has ${places} places for a picture, and needs one; mend the chat template, and keep ${special ?? 'its token'} out of the question.`,
    );
  return ids.flatMap((id) => (id === picture.token ? Array<number>(picture.tokens).fill(id) : [id]));
}

function messages(words: string, system: string | null, hasPicture: boolean): ChatMessage[] {
  const content: ChatMessage['content'] = hasPicture ? [{ type: 'image' }, { type: 'text', text: words }] : words;
  const front: ChatMessage['content'] = hasPicture ? [{ type: 'text', text: system ?? '' }] : (system ?? '');
  return [
    ...(system === null ? [] : [{ role: 'system' as const, content: front }]),
    { role: 'user' as const, content },
  ];
}
