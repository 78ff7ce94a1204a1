space gpunet1_product {
  input       image 3 x 288 x 288
  output      classes 1000
  granularity 32                 // an interval stands for the multiples of 32 in it
  stage conv    conv      x 2  { kernel {3, 5}            act relu  }                            -> 24
  stage fused1  fused_irb x 980  { kernel {3, 5}  stride 2  act swish  expand (0, 8]  se {0, 1} }  -> 64  {
    layer 1 one of { fused_irb { kernel 3  padding 0 }  fused_irb { kernel 5  padding 1 } }
  }
  stage irb2    irb       x 5  { kernel {3, 5}            act relu   expand (0, 8]  se {0, 1} }  -> 288
  stage irb3    irb       x 5  { kernel {3, 5}  stride 2  act relu   expand (0, 8]  se {0, 1} }  -> 448
  head          conv           { kernel 1                 act relu  } -> 1280 | global_pool | dropout(0.2) | linear
}
