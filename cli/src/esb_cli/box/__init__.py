"""The running box as the command line sees it: started, asked, filled with functions, stopped."""
