nas 1

// The convolutional blocks. A file sees these without importing them; `nas 1` fixes their meaning.
//
// Words before a parameter:  first   a value given by a stage is for the stage's first layer only
//                            ratio   a multiple of the input's channels (an interval is filled on the channel grid)
//                            tensor  another tensor: the name of an earlier stage, or of a value of the calling block
// Primitive operators (conv2d, linear, bn, pools, add, concat, take, residual, ...) are the compiler's.
// A tensor with no channels is absent: add, mul and concat leave it out, every other operator of it is absent too.

// Convolution, normalisation, activation. `bypass` is NetAdaptV2's T, see `fill`.
block conv(kernel, first stride = 1, act = relu, norm = bn, groups = 1, dilation = 1, padding = same,
           bias = norm == identity, shortcut = identity, bypass = 0) -> filters {
  in | conv2d(kernel, stride, padding, groups, dilation, bias) -> filters | norm | act
     | fill(in | avg_pool(stride, stride) when stride > 1, bypass)
     | shortcut
}

// One filter per channel.
block depthwise(kernel, first stride = 1, padding = same, dilation = 1) {
  in | conv2d(kernel, stride, padding, groups = in.channels, dilation = dilation) -> in.channels
}

// Two biased 1x1 convolutions on the pooled tensor; width 0 means none.
block squeeze_excite(width, act = relu, gate = sigmoid) {
  gates = in | global_pool | conv2d(1, bias = yes) -> width | act | conv2d(1, bias = yes) -> in.channels | gate
  mul(in, gates)
}

// MobileNetV1 (last_act relu, shortcut identity) and the first block of EfficientNet and MobileNetV3.
block depthwise_separable(kernel, first stride = 1, act = relu, last_act = identity, se = no, dw = in.channels,
                          se_width = round(in.channels / 4), se_act = act, se_gate = sigmoid,
                          bypass = 0, dw_bypass = 0, norm = bn, padding = same, shortcut = residual) -> filters {
  deep = in | take -> dw | depthwise(kernel, stride, padding) | norm | act
            | fill(in | avg_pool(stride, stride) when stride > 1, dw_bypass)
  deep | squeeze_excite(se_width, se_act, se_gate) when se
       | conv2d(1) -> filters | norm | last_act | fill(deep, bypass)
       | shortcut
}

// Inverted residual: MobileNetV2, EfficientNet, GPUNet, FBNet (groups, with a channel shuffle).
block irb(kernel, ratio expand, first stride = 1, act = relu, se = no,
          hidden = divisible(expand * in.channels, 8), groups = 1,
          se_width = round(in.channels / 4), se_act = act, se_gate = sigmoid,
          norm = bn, padding = same, shortcut = residual) -> filters {
  in | conv2d(1, groups = groups) -> hidden | norm | act
     | shuffle(groups) when groups > 1
     | depthwise(kernel, stride, padding) | norm | act
     | squeeze_excite(se_width, se_act, se_gate) when se
     | conv2d(1, groups = groups) -> filters | norm
     | shortcut
}

// The expansion and the depthwise convolution fused into one k x k convolution.
block fused_irb(kernel, ratio expand, first stride = 1, act = relu, se = no,
                hidden = divisible(expand * in.channels, 8),
                se_width = round(in.channels / 4), se_act = act, se_gate = sigmoid,
                norm = bn, padding = same, shortcut = residual) -> filters {
  in | conv2d(kernel, stride, padding) -> hidden | norm | act
     | squeeze_excite(se_width, se_act, se_gate) when se
     | conv2d(1) -> filters | norm
     | shortcut
}

// MobileNetV3's block. `dw` fewer than `hidden`, `bypass` and `dw_bypass` are NetAdaptV2's (its T; 0 none, inf
// unlimited); at their defaults this is the published block. With every width 0 and stride 1 the block is its input.
block mbv3(kernel, ratio expand, first stride = 1, act = relu, se = no,
           hidden = divisible(expand * in.channels, 8), dw = hidden, se_width = divisible(hidden / 4, 8),
           bypass = 0, dw_bypass = 0, norm = bn, padding = same, shortcut = residual) -> filters {
  alive = stride > 1 or hidden + dw + filters > 0
  wide  = in   | conv2d(1) -> hidden | norm | act | fill(in, bypass) when alive
  deep  = wide | take -> dw | depthwise(kernel, stride, padding) | norm | act
               | fill(wide | avg_pool(stride, stride) when stride > 1, dw_bypass) when alive
  deep | squeeze_excite(se_width, relu, hard_sigmoid) when se
       | conv2d(1) -> filters | norm | fill(deep, bypass) when alive
       | shortcut
}

// NetAdaptV2's channel-level bypass: Z = max(min(C, T), M). Where a filter is gone the source's channel passes.
block fill(tensor source, limit) {
  reach = min(source.channels, limit)
  concat(in, source | channels(min(in.channels, reach), reach))
}

// ResNet. `project` says whether the shortcut is a convolution; it is worked out unless it is given. A branch with a
// width of 0 is gone, and without a projection the block is then its input.
block basic(mid = filters, first stride = 1, act = relu, norm = bn,
            project = stride > 1 or in.channels != filters) -> filters {
  short = in | (conv2d(1, stride) -> filters | norm) when project
  in | conv2d(3, stride) -> mid | norm | act
     | conv2d(3) -> filters | norm
     | add(short) | act when project or mid > 0
}

block bottleneck(reduce = filters / 4, mid = reduce, first stride = 1, act = relu, norm = bn,
                 project = stride > 1 or in.channels != filters) -> filters {
  short = in | (conv2d(1, stride) -> filters | norm) when project
  in | conv2d(1) -> reduce | norm | act
     | conv2d(3, stride) -> mid | norm | act
     | conv2d(1) -> filters | norm
     | add(short) | act when project or reduce * mid > 0
}

// RegNet's X block; with `se`, the Y block. Its 3x3 convolution is in groups of `group_width` channels.
block regnet(group_width, mid = filters, first stride = 1, act = relu, se = no, se_width = round(in.channels / 4),
             norm = bn, project = stride > 1 or in.channels != filters) -> filters {
  short = in | (conv2d(1, stride) -> filters | norm) when project
  in | conv2d(1) -> mid | norm | act
     | conv2d(3, stride, groups = mid / group_width) -> mid | norm | act
     | squeeze_excite(se_width, act) when se
     | conv2d(1) -> filters | norm
     | add(short) | act
}

// ConvNeXt: a depthwise convolution, then two layers on each pixel. A `scale` of 0 means no layer scale.
block convnext(kernel = 7, ratio expand = 4, hidden = expand * in.channels, act = gelu, norm = layer_norm { eps 1e-6 },
               scale = 1e-6) {
  in | conv2d(kernel, groups = in.channels, bias = yes) -> in.channels | norm
     | conv2d(1, bias = yes) -> hidden | act
     | conv2d(1, bias = yes) -> in.channels
     | layer_scale(scale) when scale > 0
     | residual
}

// ConvNeXt's step between stages: a convolution without overlap on normalised channels.
block downsample(factor = 2, norm = layer_norm { eps 1e-6 }) -> filters {
  in | norm | conv2d(factor, factor, padding = 0, bias = yes) -> filters
}

// MobileNetV4's universal inverted bottleneck: depthwise convolutions before, between and after the two 1x1
// convolutions; a kernel of 0 means none. The stride is the middle one's, else the first one's, else the last one's.
block uib(ratio expand, start = 0, kernel = 0, end = 0, first stride = 1, act = relu, se = no,
          hidden = divisible(expand * in.channels, 8),
          se_width = round(in.channels / 4), se_act = act, se_gate = sigmoid,
          norm = bn, shortcut = residual) -> filters {
  in | (depthwise(start, stride) | norm) when start > 0 and kernel == 0
     | (depthwise(start) | norm) when start > 0 and kernel > 0
     | conv2d(1) -> hidden | norm | act
     | (depthwise(kernel, stride) | norm | act) when kernel > 0
     | squeeze_excite(se_width, se_act, se_gate) when se
     | conv2d(1) -> filters | norm
     | (depthwise(end, stride) | norm) when end > 0 and start + kernel == 0
     | (depthwise(end) | norm) when end > 0 and start + kernel > 0
     | shortcut
}

// Separable convolution as the cell spaces have it (activation first), and the pair of them.
block sep_conv(kernel, first stride = 1, act = relu, norm = bn) -> filters {
  in | act | depthwise(kernel, stride) | conv2d(1) -> filters | norm
}

block sep_pair(kernel, mid = filters, first stride = 1, act = relu, norm = bn) -> filters {
  in | sep_conv(kernel, stride, act, norm) -> mid
     | sep_conv(kernel, 1, act, norm) -> filters
}

// 1 x k and then k x 1.
block cross_pair(length, mid = filters, act = relu, norm = bn) -> filters {
  in | act | conv2d(1 x length) -> mid | norm
     | act | conv2d(length x 1) -> filters | norm
}

// Nothing where the shape stays, a 1x1 convolution where it does not: FBNet's "skip" in every layer.
block skip_or_project(first stride = 1, act = relu, norm = bn) -> filters {
  in | (conv2d(1, stride) -> filters | norm | act) when stride > 1 or in.channels != filters
}

// A step of an encoder-decoder: separable convolution, twice as large, an encoder's tensor added.
block up(kernel = 5, dw = in.channels, factor = 2, tensor lateral = nothing, join = add, act = relu,
         norm = bn, bypass = 0, dw_bypass = 0) -> filters {
  deep = in | take -> dw | depthwise(kernel) | norm | act | fill(in, dw_bypass)
  deep | conv2d(1) -> filters | norm | act | fill(deep, bypass)
       | upsample(factor) | join(lateral)
}
