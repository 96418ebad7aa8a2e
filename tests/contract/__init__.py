"""What every cryptor promises, tried on every kind of model. A new kind of model is one more `Case` in cases.py."""
