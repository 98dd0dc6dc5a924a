"""Networks: content and style encoders, decoders, fusion and heads. They know neither files nor Slicer."""
