nas 1

// ConvNeXt-T (Liu et al. 2022).
network convnext_tiny {
  input  image 3 x 224 x 224
  output classes 1000

  stage stem   conv  { kernel 4  stride 4  padding 0  bias yes  act identity  norm layer_norm { eps 1e-6 } }  -> 96
  stage s1     convnext x 3
  stage down2  downsample  -> 192
  stage s2     convnext x 3
  stage down3  downsample  -> 384
  stage s3     convnext x 9
  stage down4  downsample  -> 768
  stage s4     convnext x 3
  head         global_pool | layer_norm { eps 1e-6 } | linear
}
