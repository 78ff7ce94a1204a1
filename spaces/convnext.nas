nas 1

// Around ConvNeXt-T: every layer's kernel and hidden width, and which layers there are.
space convnext {
  input       image 3 x 224 x 224
  output      classes 1000
  granularity 32
  skip        same_shape
  default     convnext { kernel {5, 7, 9}  expand [1, 6] }

  stage stem   conv  { kernel 4  stride 4  padding 0  bias yes  act identity  norm layer_norm { eps 1e-6 } }  -> 96
  stage s1     convnext x 4
  stage down2  downsample  -> 192
  stage s2     convnext x 4
  stage down3  downsample  -> 384
  stage s3     convnext x 12
  stage down4  downsample  -> 768
  stage s4     convnext x 4
  head         global_pool | layer_norm { eps 1e-6 } | linear
}

search prunet { epochs 90  warmup 30  threshold 0.1 .. 0.55 }
