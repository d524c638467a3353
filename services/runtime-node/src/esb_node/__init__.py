"""The hands of the box: starts, stops and watches workers. It never sees an event."""
