nas 1

// Small language models over bytes, 64 at a time, for trying out text on a CPU (`--data text:FILE`): how many heads
// each of two layers has, and how wide it is inside.
space tiny_gpt {
  input       tokens 64
  output      tokens 256
  granularity 32

  stage words   embedding        { vocabulary 256 }  -> 64
  stage places  position
  stage body    transformer x 2  { heads 1 .. 4  head_width 16  hidden [32, 256]  causal yes }
  head          layer_norm | linear(bias = no)
}

search prunet { epochs 20  warmup 5  batch 32  alpha 0.05 }
