"""Several serving processes as one: started, watched, asked, stopped by a supervisor."""
