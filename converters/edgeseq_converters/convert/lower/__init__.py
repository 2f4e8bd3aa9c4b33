"""Models as TFLite operators: `recurrent` networks and `encoder` graphs."""
