// What published scripts tell a language model around a yes/no question. The text is part of a run's key, since answers
// depend on it; `{question}` is replaced.

export const YES_NO_PROMPTS = {
  /** RUCAIBox/POPE: the bare question. */
  official: '{question}',
  /** DAMO-NLP-SG/VCD. */
  vcd: '{question} Please answer this question with one word.',
  /** EvolvingLMMs-Lab/lmms-eval. */
  'lmms-eval': '{question}\nAnswer the question using a single word or phrase.',
  /** RainBowLuoCS/DEEM, its spelling kept. */
  deem: '{question} Please anwser yes or no',
  /** VLMEvalKit's wording for AMBER. */
  'yes-or-no': '{question} Please answer yes or no.',
} as const;

export type YesNoPromptId = keyof typeof YES_NO_PROMPTS;

/** Their names, as a schema wants them. */
export const YES_NO_PROMPT_IDS = Object.keys(YES_NO_PROMPTS) as [YesNoPromptId, ...YesNoPromptId[]];
