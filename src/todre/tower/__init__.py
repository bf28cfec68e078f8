"""The vision tower: read its signals, and run its layers on fewer tokens.

Where to look:

* `capture`: wraps the encoding methods of one model, and ties facts about visual tokens to what they return.
* `signals`: which tower layer is watched for a signal, and what is read from its attention.
* `tower_plan`: where a method acts in one tower; towers that cannot be followed are refused here, at attach.
* `hooks`: the hooks that shorten a layer's input and put its output back at full length.
* `runs`: one call of a tower with tiles, where tokens are merged; `crop_run`: whole crops are left out before the
  first layer; `packed_run`: units of packed pictures are left out before the first layer.
* `survivors`: which tokens are left and where they go, as pure tensors; `tiles`: how pictures were cut into tiles.
"""
