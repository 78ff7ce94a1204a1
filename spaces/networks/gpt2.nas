nas 1

// GPT-2 small (Radford et al. 2019) for 1,024 tokens, with an output layer of its own. The published network's output
// layer is its embedding, so it has 50,257 x 768 = 38,597,376 parameters fewer: 124,439,808. Queries, keys and values
// are three layers here where the published code has one of three times the width. MACs are the same.
network gpt2 {
  input  tokens 1024
  output tokens 50257

  stage words   embedding         { vocabulary 50257 }  -> 768
  stage places  position
  stage body    transformer x 12  { heads 12  causal yes  act gelu_tanh }
  head          layer_norm | linear(bias = no)
}
