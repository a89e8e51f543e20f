of each row it learns a class, or one number
