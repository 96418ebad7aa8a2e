"""The measurements behind `weightlock bench`."""
