nas 1

// Small language models over bytes, 64 at a time: for trying out text on a CPU (`--data text:FILE`).
space tiny_gpt {
  input       tokens 64
  output      tokens 256
  granularity 32

  stage words   embedding        { vocabulary 256 }  -> 64
  stage places  position
  stage body    transformer x 2  { heads 4  hidden [32, 256]  causal yes  skip same_shape }
  head          layer_norm | linear(bias = no)
}

search prunet { epochs 4  warmup 1  batch 32 }
